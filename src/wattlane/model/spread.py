"""How far a law is off on groups it was not fitted on: conformal quantiles of |log(predicted / measured)|.

The interval of a new value is [value / factor, value · factor] with factor = exp(quantile). The quantile at level L of
n left-out errors is the ⌈(n + 1)·L⌉-th smallest (split conformal: Papadopoulos et al. 2002; Vovk et al. 2005, section
4.1); beyond the largest it is unbounded. Each group counts the same: its rows share a weight of one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from wattlane.core.types import Estimate

LEVELS = (0.5, 0.8, 0.9, 0.95)


@dataclass(frozen=True, slots=True)
class Spread:
    """Level → |log error| of rows of left-out groups; empty where none was left out: intervals are then unbounded."""

    quantiles: Mapping[float, float] = field(default_factory=dict)
    groups: int = 0

    def around(self, value: float, unit: str, level: float, extrapolated: bool = False) -> Estimate:
        """Return `value` with the interval of the least stored level that is at least `level`."""
        reached = [self.quantiles[known] for known in sorted(self.quantiles) if known >= level - 1e-9]
        if not reached:
            return Estimate(value, 0.0, math.inf, unit, extrapolated, level)
        factor = math.exp(reached[0])
        return Estimate(value, value / factor, value * factor, unit, extrapolated, level)

    def as_dict(self) -> dict[str, object]:
        """Return plain values for a law file."""
        return {"groups": self.groups, "abs_log_error": {f"{level:g}": q for level, q in self.quantiles.items()}}

    @classmethod
    def from_dict(cls, body: Mapping[str, object]) -> Spread:
        """Return what `as_dict` wrote."""
        found = body.get("abs_log_error", {})
        quantiles = {float(k): float(v) for k, v in found.items()} if isinstance(found, Mapping) else {}
        return cls(quantiles, int(str(body.get("groups", 0))))


def spread_of(log_errors: Sequence[float], groups: Sequence[str]) -> Spread:
    """Return the conformal quantiles of errors of left-out groups; `groups` names the group of each error."""
    if not len(log_errors):
        return Spread()
    size = Counter(groups)
    found = np.abs(np.asarray(log_errors, dtype=float))
    order = np.argsort(found)
    weight = np.cumsum([1.0 / size[groups[i]] for i in order])
    n = len(size)
    quantiles = {}
    for level in LEVELS:
        at = int(np.searchsorted(weight, (n + 1) * level - 1e-9))
        if at < len(order):
            quantiles[level] = float(found[order[at]])
    return Spread(quantiles, n)
