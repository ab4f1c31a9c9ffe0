"""Plain energy."""

from __future__ import annotations

from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.equations.equation import Objective
from wattlane.plan.assign.problem import Floats
from wattlane.plan.assign.values import Case


def cost(case: Case, _ask: Ask) -> Floats:
    """Return joules of a request, shape (K, m)."""
    return case.predicted("energy_j")


EQUATION = Objective("joules", "min Σ_i Σ_k e_ki·x_ki", "J", cost)
