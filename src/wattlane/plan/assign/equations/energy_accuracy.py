"""Wilkins 2024, eq. 3.2: energy against accuracy, both normalised over all pairs of the workload."""

from __future__ import annotations

from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.equations.equation import Objective
from wattlane.plan.assign.hats import hat
from wattlane.plan.assign.problem import Floats
from wattlane.plan.assign.values import Case


def cost(case: Case, ask: Ask) -> Floats:
    """Return ζ·ê − (1 − ζ)·â, shape (K, m)."""
    energy = case.predicted("energy_j")
    total = hat(energy, ask.normalisation)(energy)
    total *= ask.zeta
    accuracy = case.accuracy()
    gain = hat(accuracy, ask.normalisation)(accuracy)
    gain *= 1.0 - ask.zeta
    total -= gain
    return total


EQUATION = Objective("energy-accuracy", "min Σ_i Σ_k (ζ·ê_ki − (1 − ζ)·â_ki)·x_ki", "objective", cost)
