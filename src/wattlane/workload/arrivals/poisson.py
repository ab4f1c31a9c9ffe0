"""Poisson: independent exponential gaps of mean 1 / rate; gap CV 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wattlane.workload.spec import Kind, Param, above_zero


def poisson(rng: np.random.Generator, n: int, *, rate_rps: float) -> NDArray[np.float64]:
    """Return n arrivals, seconds.

    Raises:
        InputError: the rate is not above 0.
    """
    above_zero("arrival kind=poisson", rate_rps=rate_rps)
    return np.cumsum(rng.exponential(1.0 / rate_rps, n))


KIND = Kind(
    "poisson", poisson, "independent requests at a constant rate", (Param("rate_rps", "requests per second above 0"),)
)
