"""watts: Σ_m (power − gpus·parked)·n ≤ cap − parked fleet: a hard limit on what the whole fleet draws."""

from __future__ import annotations

import numpy as np

from wattlane.plan.configure.problem import Floats, Problem


def matrix(problem: Problem) -> Floats:
    """Return the block of one bin, (1, M)."""
    return problem.extra_w[None, :]


def limits(problem: Problem, t: int) -> tuple[Floats, Floats]:
    """Return (lower, upper) of bin t, each (1,)."""
    return np.array([-np.inf]), problem.room_w[t : t + 1]
