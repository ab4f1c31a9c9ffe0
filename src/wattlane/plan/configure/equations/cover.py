"""cover: Σ_m rate·n ≥ d, for every pool: what arrives is served within the SLO."""

from __future__ import annotations

import numpy as np

from wattlane.plan.configure.problem import Floats, Problem


def matrix(problem: Problem) -> Floats:
    """Return the block of one bin, (P, M)."""
    m = problem.modes
    pools = np.arange(problem.demand_per_s.shape[1])
    block: Floats = (m.pool == pools[:, None]) * m.rate_per_s
    return block


def limits(problem: Problem, t: int) -> tuple[Floats, Floats]:
    """Return (lower, upper) of bin t, each (P,)."""
    return problem.demand_per_s[t], np.full(problem.demand_per_s.shape[1], np.inf)
