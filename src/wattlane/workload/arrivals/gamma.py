"""Gamma renewal: independent gaps, shape 1 / CV², scale CV² / rate; CV 1 is Poisson, above 1 bursty."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wattlane.workload.spec import Kind, Param, above_zero


def gamma(rng: np.random.Generator, n: int, *, rate_rps: float, cv: float) -> NDArray[np.float64]:
    """Return n arrivals, seconds.

    Raises:
        InputError: the rate or the CV is not above 0.
    """
    above_zero("arrival kind=gamma", rate_rps=rate_rps, cv=cv)
    return np.cumsum(rng.gamma(1.0 / cv**2, cv**2 / rate_rps, n))


KIND = Kind(
    "gamma",
    gamma,
    "independent gamma gaps of a given CV",
    (
        Param("rate_rps", "requests per second above 0"),
        Param("cv", "standard deviation of the gaps over their mean, above 0 (0 is kind=deterministic)"),
    ),
)
