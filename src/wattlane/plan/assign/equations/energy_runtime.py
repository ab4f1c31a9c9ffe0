"""Wilkins 2024, eq. 3.1: one model on several systems, energy against runtime, both normalised."""

from __future__ import annotations

from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.equations.equation import Objective
from wattlane.plan.assign.hats import hat
from wattlane.plan.assign.problem import Floats
from wattlane.plan.assign.values import Case


def cost(case: Case, ask: Ask) -> Floats:
    """Return ζ·ê + (1 − ζ)·r̂, shape (K, m)."""
    energy, runtime = case.predicted("energy_j"), case.predicted("runtime_s")
    return ask.zeta * hat(energy, ask.normalisation)(energy) + (1.0 - ask.zeta) * hat(runtime, ask.normalisation)(
        runtime
    )


EQUATION = Objective("energy-runtime", "min Σ_i Σ_k (ζ·ê_ki + (1 − ζ)·r̂_ki)·x_ki", "objective", cost)
