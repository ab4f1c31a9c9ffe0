"""The least that the rows of a problem have to give before a plan exists.

The rows get slack, and Σ slack_r / |bound_r| is minimised: the dual of that program is the dual of the assignment with
costs of 0 and prices of at most 1 / |bound_r|, so the same cutting planes solve it at any size.
"""

from __future__ import annotations

import numpy as np

from wattlane.plan.assign.cuts import maximise
from wattlane.plan.assign.lagrangian import Point, evaluate
from wattlane.plan.assign.problem import Floats, Problem, Row, weighted

NONE = 1e-9  # of the bound: a smaller slack is rounding error


def slack(problem: Problem) -> Floats:
    """Return by how much each bound has to give at least, (R,): relative changes summed are least; 0 where it holds.

    Fractional plans count here: a plan of whole requests may need a little more. Counts are rounded up.
    """
    free = Problem(np.where(np.isfinite(problem.cost), 0.0, np.inf), problem.requests, problem.rows, problem.targets)
    weight = np.array([max(abs(row.bound), 1e-3 * _largest(row, problem)) for row in problem.rows])
    signs = np.array([row.sign for row in problem.rows])

    def function(scaled: Floats) -> Point:
        point = evaluate(free, scaled / weight)
        return Point(point.value, point.slope / weight, point.choice)

    zero = np.zeros(len(weight))
    found = maximise(function, zero, np.minimum(signs, 0.0), np.maximum(signs, 0.0), tolerance=1e-9, most_steps=2000)
    if found.value <= NONE:
        return zero
    short = np.maximum(signs * found.mixture, 0.0)
    short[short <= 1e-6] = 0.0
    short *= weight
    counted = [row.counted_target is not None for row in problem.rows]
    return np.where(counted, np.ceil(short - 1e-6), short)


def _largest(row: Row, problem: Problem) -> float:
    total = float(problem.requests.sum())
    return max(
        [weighted(np.abs(v), problem.requests) if isinstance(v, np.ndarray) else total for v in row.columns.values()]
        + [1e-12]
    )
