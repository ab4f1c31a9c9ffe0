"""The same problem by HiGHS: a linear program for its relaxation, a mixed-integer program for its integral optimum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wattlane.core.extras import require
from wattlane.plan.assign.problem import Counts, Floats, Problem

FEASIBILITY = 1e-9


@dataclass(frozen=True, eq=False, slots=True)
class Answer:
    """x (K, m), its cost, the solver's bound, and whether the solver proved it optimal; x is None if none was found."""

    x: Floats | None
    value: float
    bound: float
    optimal: bool
    infeasible: bool

    def integral(self) -> Counts:
        """Return x rounded to whole requests: the solver keeps integrality to a tolerance only."""
        assert self.x is not None
        return np.rint(self.x).astype(np.int64)


def solve_exactly(
    problem: Problem,
    *,
    integral: bool,
    limit_s: float = np.inf,
    held: Floats | None = None,
    enough: float | None = None,
) -> Answer:
    """Solve over all pairs; `held` (R,) is what other kinds already load each row with.

    Branch and bound stops at a plan that costs at most `enough`.
    """
    highspy = require("highspy")
    model = highspy.Highs()
    model.setOptionValue("output_flag", False)
    model.setOptionValue("threads", 1)
    model.setOptionValue("mip_rel_gap", 0.0)
    model.setOptionValue("mip_abs_gap", 0.0)
    for name in ("mip_feasibility_tolerance", "primal_feasibility_tolerance"):
        model.setOptionValue(name, FEASIBILITY)
    if enough is not None:
        model.setOptionValue("objective_target", enough)
    if np.isfinite(limit_s):
        model.setOptionValue("time_limit", float(limit_s))
    model.passModel(_model(highspy, problem, integral, held))
    model.run()
    status = model.getModelStatus()
    infeasible = status in (highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible)
    info = model.getInfo()
    has_plan = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    if infeasible or not has_plan:
        return Answer(None, np.inf, np.inf if infeasible else -np.inf, False, infeasible)
    x = np.array(model.getSolution().col_value).reshape(problem.cost.shape)
    bound = info.mip_dual_bound if integral else info.objective_function_value
    return Answer(
        x, float(info.objective_function_value), float(bound), status == highspy.HighsModelStatus.kOptimal, False
    )


def _model(highspy: Any, problem: Problem, integral: bool, held: Floats | None) -> Any:
    """Columns k·m + i, target by target; first one row a kind, then the rows of the problem."""
    sparse = require("scipy.sparse")
    targets, m = problem.cost.shape
    admitted = np.isfinite(problem.cost)
    once = sparse.hstack([sparse.identity(m, format="csr")] * targets, format="csr")
    held = np.zeros(len(problem.rows)) if held is None else held
    blocks, low, high = [once], [problem.requests.astype(float)], [problem.requests.astype(float)]
    for row, load in zip(problem.rows, held, strict=True):
        line = np.zeros((targets, m))
        for k, coefficient in row.columns.items():
            line[k] = coefficient
        # the solver's tolerance is absolute: in these units it is one of the bound
        unit = abs(row.bound) or float(np.abs(line).max()) or 1.0
        blocks.append(sparse.csr_matrix(line.reshape(1, -1) / unit))
        right = (row.bound - load) / unit
        low.append(np.array([-highspy.kHighsInf if row.sense == "<=" else right]))
        high.append(np.array([right if row.sense == "<=" else highspy.kHighsInf]))
    matrix = sparse.vstack(blocks, format="csr")
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = targets * m, matrix.shape[0]
    lp.col_cost_ = np.where(admitted, problem.cost, 0.0).ravel()
    lp.col_lower_ = np.zeros(targets * m)
    lp.col_upper_ = np.where(admitted, problem.requests, 0).astype(float).ravel()
    lp.row_lower_, lp.row_upper_ = np.concatenate(low), np.concatenate(high)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_, lp.a_matrix_.index_ = matrix.indptr, matrix.indices
    lp.a_matrix_.value_ = matrix.data
    if integral:
        lp.integrality_ = [highspy.HighsVarType.kInteger] * (targets * m)
    return lp
