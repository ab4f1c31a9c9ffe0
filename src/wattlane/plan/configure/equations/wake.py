"""wake: v ≥ U[t] − U[t−1], U = GPUs of a type in use: more of them than in the bin before must be woken."""

from __future__ import annotations

from wattlane.plan.configure.equations import fleet
from wattlane.plan.configure.problem import Floats, Problem


def matrix(problem: Problem) -> Floats:
    """Return what U is of one bin's n, (G, M)."""
    return fleet.matrix(problem)


def before(problem: Problem) -> Floats:
    """Return U before the first bin, (G,)."""
    return problem.used_before.astype(float)


def cost(problem: Problem) -> Floats:
    """Return the objective of waking one GPU, (T, G)."""
    return problem.wake_cost
