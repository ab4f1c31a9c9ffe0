"""Burst: every request arrives at time 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wattlane.workload.spec import Kind


def burst(_rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Return n zeros, seconds."""
    return np.zeros(n)


KIND = Kind("burst", burst, "all at once", needs_n=True)
