"""An integral plan under rows that weigh requests (GPU-hours, energy, quality): a generalised assignment problem.

Its relaxation has few fractional kinds, at most one a row, but moving a whole request over changes a row by more than
is left. Below `EXACT_PAIRS` pairs the whole problem goes to branch and bound. Above it, kinds whose best target is
clear at the dual's prices stay there, and branch and bound places the others in what is left of each row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wattlane.core.errors import InfeasibleError
from wattlane.plan.assign.dual import Dual
from wattlane.plan.assign.lagrangian import loads, nearest, regret
from wattlane.plan.assign.oracle import solve_exactly
from wattlane.plan.assign.problem import Counts, Problem

EXACT_PAIRS = 10_000
OPEN = 64  # kinds left to branch and bound at first
GAP = 1e-7  # of the bound: branch and bound over a part stops at a plan so near it
PART_LIMIT_S = 1.0


@dataclass(frozen=True, eq=False, slots=True)
class Placed:
    """An integral plan (K, m); `bound` is that of branch and bound over the whole problem, None if it saw a part."""

    x: Counts
    bound: float | None


def round_rows(problem: Problem, dual: Dual, limit_s: float) -> Placed:
    """Return an integral plan that keeps every row.

    Raises:
        InfeasibleError: there is none, or none was found within `limit_s` seconds.
    """
    if problem.pairs < EXACT_PAIRS:
        answer = solve_exactly(problem, integral=True, limit_s=limit_s)
        if answer.x is None:
            raise InfeasibleError("no plan keeps all rows")
        return Placed(answer.integral(), answer.bound)
    choice, margin = regret(problem, dual.prices)
    open_count = OPEN
    while True:
        which = nearest(margin, open_count)
        held = np.ones(len(margin), bool)
        held[which] = False
        fixed = problem.take(np.flatnonzero(held))
        cost = fixed.cost[choice[held], np.arange(len(fixed.requests))]
        answer = solve_exactly(
            problem.take(which),
            integral=True,
            limit_s=min(limit_s, PART_LIMIT_S),
            held=loads(fixed, choice[held]),
            enough=dual.value + GAP * abs(dual.value) - float(cost @ fixed.requests),
        )
        if answer.x is not None:
            x = np.zeros(problem.cost.shape, np.int64)
            x[choice, np.arange(len(choice))] = problem.requests
            x[:, which] = answer.integral()
            return Placed(x, None)
        if len(which) == len(margin) or len(which) * len(problem.targets) >= 4 * EXACT_PAIRS:
            raise InfeasibleError("no plan keeps all rows")
        open_count *= 4
