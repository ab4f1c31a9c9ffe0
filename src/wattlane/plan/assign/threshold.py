"""The threshold heuristic of hybrid clusters, swept over every threshold (arXiv 2407.00010).

    E(T) = Σ_{tokens ≤ T} e_small + Σ_{tokens > T} e_large

`tokens` are those of the input, of the output, or their product. T = 0 sends everything to the large system, the
greatest length everything to the small one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.plan.assign.problem import Counts, Floats
from wattlane.plan.assign.values import Case

MEASURES = ("input", "output", "product")


@dataclass(frozen=True, eq=False, slots=True)
class Sweep:
    """Every threshold that changes anything, ascending from 0, with the energy and mean runtime it gives."""

    measure: str
    thresholds: Counts
    energy_j: Floats
    mean_runtime_s: Floats

    @property
    def best(self) -> int:
        """The threshold of least energy; the least of equals."""
        return int(self.thresholds[int(self.energy_j.argmin())])

    @property
    def saving_fraction(self) -> float:
        """Of the least energy against everything on the better of the two systems alone."""
        alone = min(float(self.energy_j[0]), float(self.energy_j[-1]))
        return 1.0 - float(self.energy_j.min()) / alone


def sweep(case: Case, measure: str = "input") -> Sweep:
    """Return the sweep for two targets, the first of them the small system.

    Raises:
        InputError: another number of targets.
        UnknownNameError: no such measure.
    """
    if len(case.targets) != 2:
        raise InputError(f"found {len(case.targets)} targets; expected 2, the small system first")
    if measure not in MEASURES:
        raise UnknownNameError("measure of length", measure, MEASURES)
    kinds = case.kinds
    product = kinds.input_tokens * kinds.output_tokens
    tokens = {"input": kinds.input_tokens, "output": kinds.output_tokens, "product": product}[measure]
    distinct, code = np.unique(tokens, return_inverse=True)
    curves = [
        _curve(case.predicted(quantity) * kinds.requests, code, len(distinct)) for quantity in ("energy_j", "runtime_s")
    ]
    thresholds = np.concatenate([[0], distinct]).astype(np.int64)
    return Sweep(measure, thresholds, curves[0], curves[1] / kinds.total)


def _curve(values: Floats, code: Counts, size: int) -> Floats:
    """Return the total for each threshold: small up to it, large above."""
    small, large = (np.concatenate([[0.0], np.bincount(code, weights=row, minlength=size)]) for row in values)
    totals: Floats = np.cumsum(small) + (large.sum() - np.cumsum(large))
    return totals
