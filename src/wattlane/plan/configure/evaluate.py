"""A plan by plain arithmetic, without a solver: what it costs, for what, and which constraint it breaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from wattlane.plan.configure.problem import Ints, Problem

TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Cost:
    """Objective of a plan by part; `energy_j` is what it draws whatever the objective counts."""

    run: float
    start: float
    wake: float
    parked: float
    energy_j: float
    start_j: float

    @property
    def total(self) -> float:
        """The objective."""
        return self.run + self.start + self.wake + self.parked


def starts(problem: Problem, counts: Ints) -> Ints:
    """Return instances started at the beginning of each bin, (T, S)."""
    running = problem.shapes_running(counts)
    before = np.vstack([problem.running[None, :], running[:-1]])
    out: Ints = np.maximum(running - before, 0)
    return out


def wakes(problem: Problem, counts: Ints) -> Ints:
    """Return GPUs taken into use at the beginning of each bin, (T, G)."""
    used = problem.gpus_used(counts)
    before = np.vstack([problem.used_before[None, :], used[:-1]])
    out: Ints = np.maximum(used - before, 0)
    return out


def cost(problem: Problem, counts: Ints) -> Cost:
    """Return what `counts` (T, M) costs."""
    u, v = starts(problem, counts), wakes(problem, counts)
    watts = counts @ problem.extra_w + float(problem.gpu_count @ problem.parked_w)
    starting_j = float((u * problem.start_j).sum() + (v * problem.wake_j).sum())
    return Cost(
        run=float((counts * problem.mode_cost).sum()),
        start=float((u * problem.start_cost).sum()),
        wake=float((v * problem.wake_cost).sum()),
        parked=problem.parked_cost,
        energy_j=float(watts.sum() * problem.bin_s) + starting_j,
        start_j=starting_j,
    )


def violations(problem: Problem, counts: Ints) -> Iterator[str]:
    """Say in words which constraints `counts` (T, M) breaks; nothing if it is feasible."""
    if counts.shape != problem.mode_cost.shape:
        yield f"counts have shape {counts.shape}; expected {problem.mode_cost.shape}"
        return
    if not np.issubdtype(counts.dtype, np.integer):
        yield "counts are not whole numbers"
    if counts.size and counts.min() < 0:
        yield f"counts hold {counts.min()}; expected at least 0"
    pools = problem.demand_per_s.shape[1]
    served = np.stack([counts @ (problem.modes.rate_per_s * (problem.modes.pool == p)) for p in range(pools)], axis=1)
    for t, p in np.argwhere(served < problem.demand_per_s * (1 - TOLERANCE) - TOLERANCE):
        yield f"bin {t}, pool {p}: serves {served[t, p]:.6g} of {problem.demand_per_s[t, p]:.6g} requests per second"
    used = problem.gpus_used(counts)
    for t, g in np.argwhere(used > problem.gpu_count):
        yield f"bin {t}, GPU type {g}: uses {used[t, g]} of {problem.gpu_count[g]}"
    watts = counts @ problem.extra_w
    for (t,) in np.argwhere(watts > problem.room_w * (1 + TOLERANCE) + TOLERANCE):
        yield f"bin {t}: draws {watts[t] - problem.room_w[t]:.6g} W above the cap of {problem.cap_w[t]:.6g} W"
