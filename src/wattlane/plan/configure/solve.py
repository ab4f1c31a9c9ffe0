"""Least-cost configuration over the horizon with a proven bound: relax, price, solve by bin, smooth, certify.

1. The linear relaxation of the whole horizon prices what ties the bins together (`relaxation`).
2. Each bin is solved at these prices: the sum is a lower bound, the parts put together a first plan (`bins`).
3. Bins are taken in turn between their neighbours until nothing improves or the gap is small enough.

Small problems go to the mixed-integer solver whole. The gap is (objective − bound) ÷ objective, whatever the way.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from wattlane.core.errors import InfeasibleError
from wattlane.plan.configure import bins, first, highs, relaxation
from wattlane.plan.configure.bound import Prices, bound, priced_cost
from wattlane.plan.configure.evaluate import Cost, cost, violations
from wattlane.plan.configure.highs import Status
from wattlane.plan.configure.problem import Floats, Ints, Problem
from wattlane.plan.configure.prune import undominated
from wattlane.plan.pool import workers

WHOLE_COLUMNS = 2000  # up to here the whole horizon is one mixed-integer program
MOST_SWEEPS = 20
TOGETHER = 16  # bins bettered at once, from one state of the plan
SHARE = 0.4  # of the gap is given to each bin's own program


@dataclass(frozen=True, eq=False)
class Found:
    """`counts` (T, M) instances in each mode of the problem as it was given, its cost, and the bound behind it."""

    counts: Ints
    cost: Cost
    bound: float
    relaxation_bound: float
    prices: Prices
    modes_kept: int
    seconds: float
    status: Status

    @property
    def gap(self) -> float:
        """How far the plan may be from the optimum, as a share of its objective above the parked fleet."""
        above = self.cost.total - self.cost.parked
        return max(0.0, (self.cost.total - self.bound) / above) if above > 0 else 0.0


def solve(
    problem: Problem, *, gap: float = 0.01, limit_s: float = 60.0, progress: Callable[[str], None] = lambda _: None
) -> Found:
    """Return the plan of least objective, within `gap` of the optimum if the time allows it.

    Raises:
        InfeasibleError: no number of instances serves the demand within fleet and watts; names the first such bin.
    """
    began = time.monotonic()
    kept = undominated(problem.modes)
    small = _with_modes(problem, kept)
    progress(f"{len(kept)} of {len(problem.modes)} modes are undominated")
    if small.mode_cost.size <= WHOLE_COLUMNS:
        counts, proven, low, prices, status = _whole(small, gap, limit_s)
    else:
        counts, proven, low, prices, status = _by_bins(small, gap, began + limit_s, progress)
    full = np.zeros((problem.bins, len(problem.modes)), np.int64)
    full[:, kept] = counts
    broken = list(violations(problem, full))
    assert not broken, broken
    return Found(full, cost(problem, full), proven, low, prices, len(kept), time.monotonic() - began, status)


def _with_modes(problem: Problem, rows: Ints) -> Problem:
    return replace(problem, modes=problem.modes.take(rows))


def _whole(problem: Problem, gap: float, limit_s: float) -> tuple[Ints, float, float, Prices, Status]:
    linear, prices = relaxation.relaxed(problem)
    if linear.status == Status.INFEASIBLE:
        raise InfeasibleError("the demand does not fit the fleet, even with fractions of instances")
    # a tenth of the asked gap, so that rounding of the objective never decides
    solved = highs.solve(relaxation.program(problem), gap=gap / 10, limit_s=limit_s)
    if solved.status == Status.INFEASIBLE:
        raise InfeasibleError("the demand does not fit the fleet")
    if solved.status == Status.NONE:
        raise InfeasibleError(f"no plan was found within {limit_s:g} s; allow more time")
    counts = np.rint(solved.x[: problem.mode_cost.size]).astype(np.int64).reshape(problem.mode_cost.shape)
    return counts, solved.bound + problem.parked_cost, linear.objective + problem.parked_cost, prices, solved.status


@dataclass(frozen=True, eq=False)
class _Day:
    """What the sweeps share: problem, blocks, costs at the prices, the least covering of each bin, the bound."""

    problem: Problem
    blocks: bins.Blocks
    priced: Floats
    covering: Floats
    bound: float
    margin: float

    def gap(self, counts: Ints) -> float:
        """Return (objective − bound) ÷ objective, both above what the parked fleet costs whatever the plan."""
        total = cost(self.problem, counts).total
        above = total - self.problem.parked_cost
        return max(0.0, (total - self.bound) / above) if above > 0 else 0.0


def _by_bins(
    problem: Problem, gap: float, until: float, progress: Callable[[str], None]
) -> tuple[Ints, float, float, Prices, Status]:
    linear, prices = relaxation.relaxed(problem)
    if linear.status == Status.INFEASIBLE:
        raise InfeasibleError("the demand does not fit the fleet, even with fractions of instances")
    low = linear.objective + problem.parked_cost
    progress("relaxation solved")
    proven = bound(problem, prices)
    margin = SHARE * gap * linear.objective / problem.bins
    day = _Day(
        problem,
        bins.Blocks.of(problem),
        priced_cost(problem, prices),
        proven.covering,
        max(proven.value, low),
        margin,
    )
    fractions = linear.x[: problem.mode_cost.size].reshape(problem.mode_cost.shape)
    progress("bound found")
    counts = first.plan(problem, day.blocks, prices, day.priced, fractions, margin)
    if isinstance(counts, int):
        raise InfeasibleError(f"the demand of bin {counts} does not fit the fleet")
    progress(f"first plan, gap {day.gap(counts):.2%}")
    return _smoothed(day, counts, gap, until, progress), day.bound, low, prices, Status.OPTIMAL


def _smoothed(day: _Day, counts: Ints, gap: float, until: float, progress: Callable[[str], None]) -> Ints:
    """Take bins between their neighbours, those furthest above their least covering first, until the gap is small."""
    for sweep in range(MOST_SWEEPS):
        at = cost(day.problem, counts).total
        for which in _turns(day, counts):
            if day.gap(counts) <= gap or time.monotonic() > until:
                return counts
            counts = _bettered(day, counts, which)
        progress(f"sweep {sweep + 1}, gap {day.gap(counts):.2%}")
        if cost(day.problem, counts).total >= at * (1 - gap / 50):
            break
    return counts


def _turns(day: _Day, counts: Ints) -> list[list[int]]:
    """Return every bin once, in groups of at most `TOGETHER` with no two neighbours in one, the worst bins first."""
    excess = (counts * day.priced).sum(axis=1) - day.covering
    left = np.argsort(-excess, kind="stable").tolist()
    groups = []
    while left:
        group: list[int] = []
        for t in left:
            if len(group) < TOGETHER and all(abs(t - other) > 1 for other in group):
                group.append(t)
        left = [t for t in left if t not in group]
        groups.append(group)
    return groups


def _bettered(day: _Day, counts: Ints, which: list[int]) -> Ints:
    """Return the plan with each of the bins `which`, no two of them neighbours, made the best between neighbours."""
    problem = day.problem
    linked = np.asarray((day.blocks.links @ counts.T).T)
    before = np.vstack([np.concatenate([problem.running, problem.used_before])[None, :], linked[:-1]])

    def better(t: int) -> Ints:
        now: Ints = counts[t]
        after = linked[t + 1] if t + 1 < problem.bins else None
        near = first.candidates(problem, day.priced, t, counts)
        found = bins.between(
            problem, day.blocks, t, before[t], after, near, margin=day.margin, nodes=first.NODES, start=now
        )
        return now if found is None else found

    out = counts.copy()
    with workers() as pool:
        for t, row in zip(which, pool.map(better, which), strict=True):
            trial = out.copy()
            trial[t] = row
            out = trial if cost(problem, trial).total <= cost(problem, out).total else out
    kept: Ints = out
    return kept
