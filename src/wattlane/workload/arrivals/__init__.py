"""Arrival processes: pure seeded functions `(rng, n, **values) -> arrival_s`, ascending float64 of length n.

Time 0 is when observation starts; the first request arrives one gap later, so n / arrival_s[-1] estimates the rate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.workload.arrivals import (
    burst,
    delavande_legacy,
    deterministic,
    diurnal,
    gamma,
    on_off,
    poisson,
    uniform,
    weibull,
)
from wattlane.workload.spec import Kind, Spec, resolve

ARRIVALS: dict[str, Kind] = {
    module.KIND.name: module.KIND
    for module in (burst, deterministic, uniform, poisson, gamma, weibull, on_off, diurnal, delavande_legacy)
}

START = 1024
MOST = 1 << 28


def draw_n(spec: Spec, n: int, seed: np.random.SeedSequence) -> NDArray[np.float64]:
    """Return n ascending arrivals, seconds.

    Raises:
        InputError: the spec or n is wrong.
    """
    if n < 1:
        raise InputError(f"n is {n}; expected at least 1 request")
    kind, values = resolve("arrival", spec, ARRIVALS)
    arrival_s: NDArray[np.float64] = kind.make(np.random.default_rng(seed), n, **values)
    return arrival_s


def draw_until(spec: Spec, duration_s: float, seed: np.random.SeedSequence) -> NDArray[np.float64]:
    """Return the arrivals in (0, duration_s], seconds.

    Each attempt starts from the seed again with twice as many requests, until one arrives past the end.

    Raises:
        InputError: the spec or the duration is wrong, the kind has no rate, or nothing arrives.
    """
    kind, values = resolve("arrival", spec, ARRIVALS)
    if kind.needs_n:
        raise InputError(f"arrival kind={kind.name} is defined by its number of requests; give n, not duration_s")
    if not 0 < duration_s < float("inf"):
        raise InputError(f"duration_s is {duration_s}; expected seconds above 0")
    n = START
    while True:
        arrival_s: NDArray[np.float64] = kind.make(np.random.default_rng(seed), n, **values)
        if arrival_s[-1] > duration_s:
            break
        n *= 2
        if n > MOST:
            raise InputError(
                f"{spec!r} makes more than {MOST:,} requests in {duration_s} s; shorten it or lower the rate"
            )
    within = arrival_s[arrival_s <= duration_s]
    if len(within) == 0:
        raise InputError(f"no request arrives within {duration_s} s at {spec!r}; lengthen duration_s or raise the rate")
    return within
