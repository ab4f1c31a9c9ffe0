"""A lower bound on every plan from prices alone: weak duality, with whole instances, and no solver.

Price what couples pools and bins: μ[t, g] a GPU in use, θ[t] a watt, ν[t, s] ∈ [0, start cost] an instance already
running, ω[t, g] ∈ [0, wake cost] a GPU already awake. At these prices one instance of mode m costs

    c[t, m] = cost + ν[t] − ν[t+1] + gpus·(ω[t] − ω[t+1] + μ[t]) + θ[t]·(power − gpus·parked)

and the rest falls apart by bin and pool into covering problems (`knapsack`):

    L = parked − ν[0]·N before − ω[0]·U before − Σ_t (μ·count + θ·room) + Σ_t Σ_p least cost of covering d[t, p]

L never exceeds the objective of any plan, whatever the prices; the prices of the linear relaxation make it tight. A
mode whose cost is negative at the prices would be run as often as the fleet allows: that much is taken off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wattlane.plan.configure import knapsack
from wattlane.plan.configure.problem import Floats, Problem
from wattlane.plan.pool import workers


@dataclass(frozen=True, eq=False)
class Prices:
    """μ (T, G), θ (T,), ν (T, S), ω (T, G), all at least 0; ν and ω at most the cost of a start and a wake."""

    gpu: Floats
    watt: Floats
    start: Floats
    wake: Floats

    def clipped(self, problem: Problem) -> Prices:
        """Return the prices within their ranges; a watt costs nothing where there is no cap."""
        return Prices(
            np.maximum(self.gpu, 0.0),
            np.where(np.isfinite(problem.room_w), np.maximum(self.watt, 0.0), 0.0),
            np.clip(self.start, 0.0, problem.start_cost),
            np.clip(self.wake, 0.0, problem.wake_cost),
        )


def priced_cost(problem: Problem, prices: Prices) -> Floats:
    """Return what one instance costs at the prices, (T, M)."""
    m = problem.modes
    start = prices.start - np.vstack([prices.start[1:], np.zeros((1, prices.start.shape[1]))])
    wake = prices.wake - np.vstack([prices.wake[1:], np.zeros((1, prices.wake.shape[1]))])
    per_gpu = (wake + prices.gpu)[:, m.gpu] * m.gpus
    cost: Floats = problem.mode_cost + start[:, m.shape] + per_gpu + prices.watt[:, None] * problem.extra_w
    return cost


@dataclass(frozen=True, eq=False)
class Bound:
    """L in parts: what no bin decides, what negative costs take off, and the least covering of each bin, (T,)."""

    fixed: float
    negative: float
    covering: Floats

    @property
    def value(self) -> float:
        """The bound."""
        return self.fixed + self.negative + float(self.covering.sum())


def bound(problem: Problem, prices: Prices) -> Bound:
    """Return L at the prices (clipped to where it holds); infinite where a pool has demand and no mode serves it."""
    valid = prices.clipped(problem)
    cost, m = priced_cost(problem, valid), problem.modes
    most = np.floor(problem.gpu_count[m.gpu] / m.gpus)
    negative = float((np.minimum(cost, 0.0) * most).sum())
    cost = np.maximum(cost, 0.0)
    rows = [np.flatnonzero(m.pool == p) for p in range(problem.demand_per_s.shape[1])]

    def of_bin(t: int) -> float:
        return sum(
            knapsack.lower(cost[t, r], m.rate_per_s[r], float(problem.demand_per_s[t, p])) for p, r in enumerate(rows)
        )

    with workers() as pool:
        covering = np.array(list(pool.map(of_bin, range(problem.bins))))
    room = np.where(np.isfinite(problem.room_w), problem.room_w, 0.0)
    held = float(valid.start[0] @ problem.running + valid.wake[0] @ problem.used_before)
    limits = float((valid.gpu * problem.gpu_count).sum() + (valid.watt * room).sum())
    return Bound(problem.parked_cost - held - limits, negative, covering)


def lower_bound(problem: Problem, prices: Prices) -> float:
    """Return the value of the bound at the prices."""
    return bound(problem, prices).value
