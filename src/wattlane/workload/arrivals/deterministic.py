"""Deterministic: arrival i is i / rate, i = 1 … n; gap CV 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wattlane.workload.spec import Kind, Param, above_zero


def deterministic(_rng: np.random.Generator, n: int, *, rate_rps: float) -> NDArray[np.float64]:
    """Return n arrivals of fixed spacing, seconds.

    Raises:
        InputError: the rate is not above 0.
    """
    above_zero("arrival kind=deterministic", rate_rps=rate_rps)
    return np.arange(1, n + 1, dtype=np.float64) / rate_rps


KIND = Kind(
    "deterministic",
    deterministic,
    "fixed spacing",
    (Param("rate_rps", "requests per second, a number above 0"),),
)
