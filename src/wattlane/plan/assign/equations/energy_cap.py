"""A budget of energy for the whole plan."""

from __future__ import annotations

from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.equations.equation import Constraint
from wattlane.plan.assign.problem import Row
from wattlane.plan.assign.values import Case


def rows(case: Case, ask: Ask) -> tuple[Row, ...]:
    """Return one row."""
    if ask.energy_cap_j is None:
        return ()
    return (Row("energy_cap", "energy_cap", dict(enumerate(case.predicted("energy_j"))), "<=", ask.energy_cap_j, "J"),)


EQUATION = Constraint("energy_cap", "Σ_i Σ_k e_ki·x_ki ≤ E", rows)
