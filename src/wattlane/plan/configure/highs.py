"""HiGHS as one call: a linear or mixed-integer program in, values, bound and prices out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from wattlane.core.extras import require
from wattlane.plan.configure.problem import Floats


class Status(StrEnum):
    """How a solve ended."""

    OPTIMAL = "optimal"  # within the asked gap
    STOPPED = "stopped"  # at the time limit, with a solution
    INFEASIBLE = "infeasible"
    NONE = "no solution"  # stopped before one was found


@dataclass(frozen=True, eq=False)
class Program:
    """min c·x, lower ≤ A·x ≤ upper, 0 ≤ x ≤ most; A is a scipy sparse matrix (rows, n); `whole` marks integers."""

    c: Floats
    a: Any
    lower: Floats
    upper: Floats
    most: Floats
    whole: bool | np.ndarray


@dataclass(frozen=True, eq=False)
class Solved:
    """`x` (n,), the objective, a proven bound on it, and the price of each row (linear programs only)."""

    status: Status
    x: Floats
    objective: float
    bound: float
    prices: Floats


def solve(
    program: Program,
    *,
    gap: float = 0.0,
    margin: float = 1e-6,
    nodes: int = 2**31 - 1,
    limit_s: float = 1e30,
    start: Floats | None = None,
) -> Solved:
    """Solve `program` to the relative `gap`, the absolute `margin`, a number of nodes or the time limit.

    `start` is a solution to better. A limit of nodes, unlike one of time, stops at the same solution on every machine.
    """
    highspy = require("highspy")
    h = highspy.Highs()
    for option, value in (
        ("output_flag", False),
        ("threads", 1),
        ("mip_rel_gap", gap),
        ("mip_abs_gap", margin),
        ("mip_max_nodes", nodes),
        ("time_limit", limit_s),
        ("random_seed", 0),
    ):
        h.setOptionValue(option, value)
    h.passModel(_model(highspy, program))
    if start is not None:
        found = highspy.HighsSolution()
        found.col_value = start.tolist()
        h.setSolution(found)
    h.run()
    return _read(highspy, h, program)


def write(program: Program, path: str, columns: list[str], rows: list[str]) -> None:
    """Write a program in the LP format, for people and for golden files."""
    highspy = require("highspy")
    h = highspy.Highs()
    h.setOptionValue("output_flag", False)
    h.passModel(_model(highspy, program))
    for i, name in enumerate(columns):
        h.passColName(i, name)
    for i, name in enumerate(rows):
        h.passRowName(i, name)
    h.writeModel(path)


def _model(highspy: Any, program: Program) -> Any:
    lp = highspy.HighsLp()
    matrix = program.a.tocsr()
    lp.num_row_, lp.num_col_ = matrix.shape
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = program.c, np.zeros(len(program.c)), program.most
    lp.row_lower_, lp.row_upper_ = program.lower, program.upper
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix.indptr, matrix.indices, matrix.data
    if np.any(program.whole):
        kinds = np.broadcast_to(program.whole, program.c.shape)
        whole, real = highspy.HighsVarType.kInteger, highspy.HighsVarType.kContinuous
        lp.integrality_ = [whole if k else real for k in kinds]
    return lp


def _read(highspy: Any, h: Any, program: Program) -> Solved:
    status, info, kinds = h.getModelStatus(), h.getInfo(), highspy.HighsModelStatus
    solution = h.getSolution()
    if status == kinds.kOptimal:
        ended = Status.OPTIMAL
    elif status in {kinds.kInfeasible, kinds.kUnboundedOrInfeasible}:
        ended = Status.INFEASIBLE
    else:
        ended = (
            Status.STOPPED
            if info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
            else Status.NONE
        )
    x = np.array(solution.col_value) if len(solution.col_value) else np.zeros(len(program.c))
    bound = float(info.mip_dual_bound) if np.any(program.whole) else float(info.objective_function_value)
    return Solved(ended, x, float(info.objective_function_value), bound, np.array(solution.row_dual))
