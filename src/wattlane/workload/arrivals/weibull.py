"""Weibull renewal: independent gaps of a given CV.

For shape k the mean is scale Γ(1 + 1/k) and 1 + CV² = Γ(1 + 2/k) / Γ(1 + 1/k)², which falls as k grows; k is found by
bisection in log k, and the scale is set from the mean, so that the rate is exact.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.workload.spec import Kind, Param, above_zero

CV_LEAST, CV_MOST = 0.01, 1000.0


def shape_of(cv: float) -> float:
    """Return the shape k that has this CV.

    Raises:
        InputError: the CV is outside 0.01 … 1000.
    """
    if not CV_LEAST <= cv <= CV_MOST:
        raise InputError(f"arrival kind=weibull: cv is {cv}; expected {CV_LEAST} to {CV_MOST:.0f}")
    target = math.log1p(cv**2)
    low, high = math.log(0.05), math.log(1000.0)
    for _ in range(80):
        middle = (low + high) / 2
        inverse = math.exp(-middle)
        if math.lgamma(1 + 2 * inverse) - 2 * math.lgamma(1 + inverse) > target:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


def weibull(rng: np.random.Generator, n: int, *, rate_rps: float, cv: float) -> NDArray[np.float64]:
    """Return n arrivals, seconds.

    Raises:
        InputError: the rate is not above 0 or the CV is out of range.
    """
    above_zero("arrival kind=weibull", rate_rps=rate_rps)
    shape = shape_of(cv)
    scale_s = 1.0 / (rate_rps * math.gamma(1 + 1 / shape))
    return np.cumsum(scale_s * rng.weibull(shape, n))


KIND = Kind(
    "weibull",
    weibull,
    "independent Weibull gaps of a given CV",
    (
        Param("rate_rps", "requests per second above 0"),
        Param("cv", f"standard deviation of the gaps over their mean, {CV_LEAST} to {CV_MOST:.0f}"),
    ),
)
