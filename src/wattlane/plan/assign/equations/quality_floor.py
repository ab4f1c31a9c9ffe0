"""A floor under the token-weighted mean accuracy of the plan."""

from __future__ import annotations

from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.equations.equation import Constraint
from wattlane.plan.assign.problem import Row
from wattlane.plan.assign.values import Case


def rows(case: Case, ask: Ask) -> tuple[Row, ...]:
    """Return one row: Σ (A_k − q)·tokens ≥ 0 says the same as Σ A_k·tokens / Σ tokens ≥ q."""
    if ask.quality_floor is None:
        return ()
    tokens = float(case.kinds.tokens @ case.kinds.requests)
    # divided by all tokens, so that the row is in points of accuracy
    columns = dict(enumerate((case.accuracy() - ask.quality_floor * case.kinds.tokens) / tokens))
    return (Row("quality_floor", "quality_floor", columns, ">=", 0.0, "accuracy"),)


EQUATION = Constraint("quality_floor", "Σ_i Σ_k (A_k − q)·w_i·x_ki / Σ_i w_i·n_i ≥ 0", rows)
