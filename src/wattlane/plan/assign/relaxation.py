"""Why no plan exists, and the least that would have to give, in words."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.elastic import slack
from wattlane.plan.assign.equations import admit_accuracy, admit_deadline
from wattlane.plan.assign.problem import Problem, Row
from wattlane.plan.assign.values import Case


def words(case: Case, ask: Ask, problem: Problem) -> str:
    """Say which requests have no target, or which bounds have to give by how much."""
    stranded: NDArray[np.bool_] = np.logical_not(np.isfinite(problem.cost).any(axis=0))
    if np.any(stranded):
        return _stranded(case, ask, problem, stranded)
    short = slack(problem)
    if not short.any():
        return (
            "no plan of whole requests was found, though a fractional one exists: "
            "the bounds are too tight for single requests; loosen the tightest one by the size of one request"
        )
    lines = [f"  - {_row_words(row, amount)}" for row, amount in zip(problem.rows, short, strict=True) if amount > 0]
    return "no plan keeps all limits. The smallest relaxation that does:\n" + "\n".join(lines)


def _row_words(row: Row, amount: float) -> str:
    down = row.sense == ">="
    new = row.bound - amount if down else row.bound + amount
    if row.counted_target is not None:
        return f"{row.name}: {row.bound:,.0f} requests → {new:,.0f} ({amount:,.0f} {'fewer' if down else 'more'})"
    if row.equation == "quality_floor":
        return f"{row.name}: lower the mean score asked for by {_up(amount):.4g}"
    return f"{row.name}: {row.bound:,.6g} {row.unit} → {_up(new):,.6g} ({_up(amount):,.4g} more)"


def _up(value: float) -> float:
    """Return a value rounded up at the sixth digit, so that what is printed suffices."""
    if value <= 0:
        return value
    step = 10.0 ** (math.floor(math.log10(value)) - 5)
    return math.ceil(value / step) * step


def _stranded(case: Case, ask: Ask, problem: Problem, stranded: NDArray[np.bool_]) -> str:
    """Say what single change of the limits of single requests would give each of them a target."""
    kinds, count = case.kinds, int(problem.requests[stranded].sum())
    i = int(np.flatnonzero(stranded)[0])
    lines = [
        f"{count:,} of {kinds.total:,} requests have no target that keeps their own limits, the first with "
        f"{kinds.input_tokens[i]} input and {kinds.output_tokens[i]} output tokens. The smallest relaxation, either of:"
    ]
    runtime, scores = case.predicted("runtime_s")[:, stranded], case.scores()[:, None]
    late, low = (np.zeros(runtime.shape, bool) if v is None else v[:, stranded] for v in _refusals(case, ask))
    needed_s = np.where(low, np.inf, runtime).min(axis=0)
    if late.any() and np.isfinite(needed_s).all():
        lines.append(f"  - deadline_s of at least {_up(float(needed_s.max())):.6g} for them")
    reached = np.where(late, -np.inf, scores).max(axis=0)
    if low.any() and np.isfinite(reached).all():
        lines.append(f"  - min_accuracy of at most {float(reached.min()):g} for them")
    if len(lines) == 1:
        fastest = float(runtime.min(axis=0).max())
        lines.append(
            f"  - deadline_s of at least {_up(fastest):.6g} and min_accuracy of at most {case.scores().min():g}"
        )
    return "\n".join(lines)


def _refusals(case: Case, ask: Ask) -> list[NDArray[np.bool_] | None]:
    return [admit_deadline.refused(case, ask), admit_accuracy.refused(case, ask)]
