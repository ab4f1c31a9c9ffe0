"""Diurnal: a Poisson process whose rate follows the day.

Either a sine, rate (1 + depth cos(2π (t − peak) / period)), held constant within each 1/1440 of the period at its mean
there, or a profile of values (24 for hours of a day), each held for an equal part of the period and scaled to the mean.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.workload.arrivals.inversion import invert_periodic, unit_arrivals
from wattlane.workload.spec import Kind, Param, above_zero, numbers

PARTS = 1440
DAY_S = 86400.0
AFTERNOON_S = 14 * 3600.0


def diurnal(
    rng: np.random.Generator,
    n: int,
    *,
    rate_rps: float,
    depth: float = 0.5,
    peak_s: float = AFTERNOON_S,
    period_s: float = DAY_S,
    profile: tuple[float, ...] | None = None,
    start_s: float = 0.0,
) -> NDArray[np.float64]:
    """Return n arrivals, seconds, where time 0 is `start_s` after the start of a period.

    Raises:
        InputError: a rate or the period is not above 0, the depth is outside 0 … 1, or the profile is not usable.
    """
    above_zero("arrival kind=diurnal", rate_rps=rate_rps, period_s=period_s)
    shape = _sine(depth, peak_s / period_s) if profile is None else _profile(profile)
    part_s = period_s / len(shape)
    if not 0 <= start_s < np.inf:
        raise InputError(f"arrival kind=diurnal: start_s is {start_s}; expected seconds of at least 0")
    lengths_s, means = np.full(len(shape), part_s), shape * rate_rps * part_s
    if start_s == 0:
        return invert_periodic(unit_arrivals(rng, n), lengths_s, means)
    cycles, rest_s = divmod(start_s, period_s)
    before = cycles * means.sum() + np.interp(rest_s, np.arange(len(shape) + 1) * part_s, np.cumsum([0.0, *means]))
    return np.maximum(invert_periodic(before + unit_arrivals(rng, n), lengths_s, means) - start_s, 0.0)


def _sine(depth: float, peak: float) -> NDArray[np.float64]:
    if not 0 <= depth <= 1:
        raise InputError(f"arrival kind=diurnal: depth is {depth}; expected 0 to 1")
    phase = 2 * np.pi * (np.linspace(0.0, 1.0, PARTS + 1) - peak)
    rate: NDArray[np.float64] = 1.0 + np.diff(np.sin(phase)) * (depth * PARTS / (2 * np.pi))
    return rate


def _profile(profile: tuple[float, ...]) -> NDArray[np.float64]:
    values = np.array(profile, dtype=np.float64)
    if len(values) < 2 or values.min() < 0 or not values.sum() > 0:
        raise InputError(
            f"arrival kind=diurnal: profile is {profile}; expected at least 2 values of at least 0 and not all 0"
        )
    return values / float(values.mean())


KIND = Kind(
    "diurnal",
    diurnal,
    "Poisson with a daily sine or profile",
    (
        Param("rate_rps", "requests per second above 0, the mean over a period"),
        Param("depth", "height of the sine over the mean, 0 to 1", required=False, default=0.5),
        Param("peak_s", "time of the peak after the start of the period, seconds", required=False, default=AFTERNOON_S),
        Param("period_s", "seconds above 0", required=False, default=DAY_S),
        Param("start_s", "seconds after the start of a period at which time 0 is", required=False, default=0.0),
        Param("profile", "relative rates v:v:… over the period, in place of the sine", required=False, read=numbers),
    ),
)
