"""fleet: Σ_m gpus·n ≤ count, for every GPU type."""

from __future__ import annotations

import numpy as np

from wattlane.plan.configure.problem import Floats, Problem


def matrix(problem: Problem) -> Floats:
    """Return the block of one bin, (G, M)."""
    m = problem.modes
    block: Floats = ((m.gpu == np.arange(len(problem.gpu_count))[:, None]) * m.gpus).astype(np.float64)
    return block


def limits(problem: Problem, t: int) -> tuple[Floats, Floats]:  # noqa: ARG001  the fleet is the same in every bin
    """Return (lower, upper) of bin t, each (G,)."""
    return np.full(len(problem.gpu_count), -np.inf), problem.gpu_count.astype(np.float64)
