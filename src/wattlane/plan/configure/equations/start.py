"""start: u ≥ N[t] − N[t−1], N = instances of a shape: more of them than in the bin before must be started."""

from __future__ import annotations

import numpy as np

from wattlane.plan.configure.problem import Floats, Problem


def matrix(problem: Problem) -> Floats:
    """Return what N is of one bin's n, (S, M)."""
    block: Floats = (problem.modes.shape == np.arange(len(problem.start_j))[:, None]).astype(np.float64)
    return block


def before(problem: Problem) -> Floats:
    """Return N before the first bin, (S,)."""
    return problem.running.astype(np.float64)


def cost(problem: Problem) -> Floats:
    """Return the objective of one start, (T, S)."""
    return problem.start_cost
