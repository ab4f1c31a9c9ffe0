"""Solve an assignment: certified prices, then an integral plan, then the bound once more at exact prices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wattlane.core.errors import InfeasibleError
from wattlane.plan.assign.dual import Dual, solve_dual
from wattlane.plan.assign.flow import round_counts
from wattlane.plan.assign.lagrangian import evaluate
from wattlane.plan.assign.problem import Counts, Floats, Problem
from wattlane.plan.assign.rounding import round_rows

OPTIMAL_GAP = 1e-9


@dataclass(frozen=True, eq=False, slots=True)
class Solution:
    """An integral plan x (K, m) with its cost and a lower bound on the cost of any plan.

    `bound` can be checked by arithmetic: it is the dual at `prices` (R,). `solver_bound` is that of branch and bound
    where it ran, at least as high and not checkable without the solver; None where it did not run.
    """

    x: Counts
    objective: float
    bound: float
    prices: Floats
    solver_bound: float | None
    rounds: int

    @property
    def gap(self) -> float:
        """(objective − best bound) / |objective|; 0 where the difference is rounding error."""
        return relative_gap(self.objective, max(self.bound, self.solver_bound or -np.inf))

    @property
    def status(self) -> str:
        """Optimal where the gap is rounding error, else feasible."""
        return "optimal" if self.gap <= OPTIMAL_GAP else "feasible"


def relative_gap(objective: float, bound: float) -> float:
    """Return (objective − bound) / |objective|, not below 0."""
    difference = objective - bound
    if difference <= 0.0:
        return 0.0
    return difference / abs(objective) if objective else float("inf")


def solve(problem: Problem, start: Floats | None = None, *, limit_s: float = 60.0) -> Solution:
    """Return an integral plan with its certificate; `start` are prices of a similar problem.

    Raises:
        InfeasibleError: no plan keeps all rows.
    """
    least, most = problem.bounds_on_counts()
    if least.sum() > problem.requests.sum() or most.sum() < problem.requests.sum() or (least > most).any():
        raise InfeasibleError("the counts by target cannot add up to the requests")  # the dual would rise for ever
    if not np.isfinite(problem.cost).any(axis=0).all():
        raise InfeasibleError("a request has no target")
    dual = solve_dual(problem, start)
    if problem.counts_only:
        return _by_flow(problem, dual)
    return _by_rounding(problem, dual, limit_s)


def _by_flow(problem: Problem, dual: Dual) -> Solution:
    rounded = round_counts(problem, dual.prices)
    if rounded is None:
        raise InfeasibleError("no plan keeps all counting rows")
    exact = _row_prices(problem, rounded.worth)
    value = evaluate(problem, exact).value
    prices, bound = (exact, value) if value >= dual.value else (dual.prices, dual.value)
    return Solution(rounded.x, problem.objective(rounded.x), bound, prices, None, dual.rounds)


def _row_prices(problem: Problem, worth: Floats) -> Floats:
    """Give each target's price to the row that holds it: the tightest ceiling if above 0, floor if below."""
    least, most = problem.bounds_on_counts()
    prices = np.zeros(len(problem.rows))
    given: set[int] = set()
    for r, row in enumerate(problem.rows):
        k = row.counted_target
        assert k is not None
        tight = row.bound == (most[k] if row.sense == "<=" else least[k])
        if k not in given and tight and worth[k] * row.sign > 0:
            prices[r] = worth[k]
            given.add(k)
    return prices


def _by_rounding(problem: Problem, dual: Dual, limit_s: float) -> Solution:
    rounded = round_rows(problem, dual, limit_s)
    if lost := [row.name for row in problem.rows if not row.is_kept(rounded.x)]:
        raise InfeasibleError(f"the solver's plan breaks {', '.join(lost)}")
    return Solution(rounded.x, problem.objective(rounded.x), dual.value, dual.prices, rounded.bound, dual.rounds)
