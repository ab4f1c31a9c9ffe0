"""Covering one pool's demand in one bin with whole instances: the least cost, from below and from above.

    f(j) = min over modes { cost + f(j − r) },  f(j ≤ 0) = 0       r = rate in steps of demand / STEPS

With r rounded up, f(STEPS) is at most the least cost of covering the demand (a relaxation: every instance serves a
little more than it does); with r rounded down, the instances behind f(STEPS) cover it (each serves a little less). The
first is the bound of a plan and needs no solver to be checked; the second is where a plan starts.
"""

from __future__ import annotations

import numpy as np

from wattlane.model.jit import kernel
from wattlane.plan.configure.problem import Floats, Ints

STEPS = 20_000
SAFETY = 1e-9  # share of a step, so that rounding of a quotient never makes a bound invalid


@kernel
def _least(cost: np.ndarray, units: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return f (steps + 1,) and the mode that f(j) adds last, −1 where none can."""
    f, last = np.full(steps + 1, np.inf), np.full(steps + 1, -1)
    f[0] = 0.0
    for j in range(1, steps + 1):
        for m in range(cost.size):
            if units[m] > 0:
                value = cost[m] + f[max(0, j - units[m])]
                if value < f[j]:
                    f[j], last[j] = value, m
    return f, last


def _efficient(cost: Floats, units: Ints) -> Ints:
    """Return the rows that cover more units than every one that costs no more."""
    order = np.lexsort((-units, cost))
    best = np.maximum.accumulate(units[order])
    keep = np.concatenate([[True], units[order][1:] > best[:-1]]) if len(order) else np.zeros(0, bool)
    return order[keep & (units[order] > 0)]


def lower(cost: Floats, rate: Floats, demand: float) -> float:
    """Return a lower bound on the cost of whole instances that serve `demand`; inf if there are no modes.

    `cost` is at least 0. The bound is the better of f and of the best cost for each request per second.
    """
    if demand <= 0:
        return 0.0
    if len(cost) == 0:
        return np.inf
    units = np.minimum(np.ceil(rate / demand * STEPS + SAFETY), STEPS).astype(np.int64)
    rows = _efficient(cost, units)
    f, _ = _least(cost[rows], units[rows], STEPS)
    return float(max(f[-1], (cost / rate).min() * demand * (1 - SAFETY)))


def cover(cost: Floats, rate: Floats, demand: float) -> Ints | None:
    """Return instances of each mode that serve `demand` at nearly the least cost, None if there are no modes."""
    counts = np.zeros(len(cost), np.int64)
    if demand <= 0:
        return counts
    units = np.minimum(np.floor(rate / demand * STEPS - SAFETY), STEPS).astype(np.int64)
    units = np.where(rate >= demand, STEPS, units)
    rows = _efficient(cost, units)
    if len(rows) == 0:
        return None
    _, last = _least(cost[rows], units[rows], STEPS)
    at = STEPS
    while at > 0:
        counts[rows[last[at]]] += 1
        at -= int(units[rows[last[at]]])
    return counts
