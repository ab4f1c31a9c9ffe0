"""Normalisations that make joules, seconds and accuracy comparable, over all pairs of target and request.

min-max   (v − min) / (max − min)      the released code of Wilkins 2024
max       v / max                      the text of Wilkins 2024
"""

from __future__ import annotations

from dataclasses import dataclass

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.plan.assign.problem import Floats

NORMALISATIONS = ("min-max", "max")


@dataclass(frozen=True, slots=True)
class Hat:
    """v̂ = (v − low) / span; a span of 0 means that all values are equal, and v̂ is 0."""

    low: float
    span: float

    def __call__(self, values: Floats) -> Floats:
        """Return the normalised values."""
        if self.span == 0.0:
            return values * 0.0
        return (values - self.low) / self.span


def hat(values: Floats, normalisation: str) -> Hat:
    """Return the normalisation of values over all pairs, shape (K, m).

    Raises:
        UnknownNameError: no such normalisation.
        InputError: `max` of values that are not positive.
    """
    if normalisation not in NORMALISATIONS:
        raise UnknownNameError("normalisation", normalisation, NORMALISATIONS)
    low, high = float(values.min()), float(values.max())
    if normalisation == "min-max":
        return Hat(low, high - low)
    if high < 0.0 or low < 0.0 == high:
        raise InputError(f"the largest value is {high:g}; expected one above 0 to divide by, or use min-max")
    return Hat(0.0, high)
