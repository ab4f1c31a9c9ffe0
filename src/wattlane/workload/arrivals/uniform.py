"""Uniform renewal: independent gaps from U(low, high).

gap CV = (high − low) / (√3 (high + low)): 0.577 for U(0, b).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.workload.spec import Kind, Param

PARAMS = (
    Param("low_s", "shortest gap, seconds of at least 0"),
    Param("high_s", "longest gap, seconds above low_s"),
)


def check_range(what: str, low_s: float, high_s: float) -> None:
    """Raise `InputError` unless 0 <= low_s < high_s."""
    if not 0 <= low_s < high_s:
        raise InputError(f"{what}: low_s is {low_s} and high_s is {high_s}; expected 0 <= low_s < high_s")


def uniform(rng: np.random.Generator, n: int, *, low_s: float, high_s: float) -> NDArray[np.float64]:
    """Return n arrivals, seconds.

    Raises:
        InputError: the range is empty or negative.
    """
    check_range("arrival kind=uniform", low_s, high_s)
    return np.cumsum(rng.uniform(low_s, high_s, n))


KIND = Kind("uniform", uniform, "independent gaps from U(low_s, high_s)", PARAMS)
