"""Arrival processes: pure seeded functions `(rng, n, **values) -> arrival_s`, ascending float64 of length n.

Time 0 is when observation starts; the first request arrives one gap later, so n / arrival_s[-1] estimates the rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
    windowed,
)
from wattlane.workload.spec import Kind, Spec, canonical, pairs, resolve

ARRIVALS: dict[str, Kind] = {
    module.KIND.name: module.KIND
    for module in (burst, deterministic, uniform, poisson, gamma, weibull, on_off, diurnal, delavande_legacy, windowed)
}

START = 1024
MOST = 1 << 28


@dataclass(frozen=True, slots=True)
class Process:
    """A kind of arrivals with its values, and the window in which its requests are held (0: they are not)."""

    kind: Kind
    values: dict[str, Any]
    window_s: float = 0.0

    def __str__(self) -> str:
        base = canonical(self.kind, self.values)
        held = f"kind={windowed.NAME},window_s={self.window_s:g},"
        return base.replace("kind=", f"{held}base=", 1) if self.window_s else base


def process(spec: Spec) -> Process:
    """Return the process that `spec` names.

    Raises:
        InputError: the spec is wrong.
    """
    given, window_s = pairs("arrival", spec), 0.0
    if given.get("kind") == windowed.NAME:
        given, window_s = windowed.take_apart(given)
    return Process(*resolve("arrival", given or spec, ARRIVALS), window_s)


def draw_n(spec: Spec, n: int, seed: np.random.SeedSequence) -> NDArray[np.float64]:
    """Return n ascending arrivals, seconds, before any hold.

    Raises:
        InputError: the spec or n is wrong.
    """
    if n < 1:
        raise InputError(f"n is {n}; expected at least 1 request")
    found = process(spec)
    arrival_s: NDArray[np.float64] = found.kind.make(np.random.default_rng(seed), n, **found.values)
    return arrival_s


def draw_until(spec: Spec, duration_s: float, seed: np.random.SeedSequence) -> NDArray[np.float64]:
    """Return the arrivals in (0, duration_s], seconds, before any hold.

    Each attempt starts from the seed again with twice as many requests, until one arrives past the end.

    Raises:
        InputError: the spec or the duration is wrong, the kind has no rate, or nothing arrives.
    """
    found = process(spec)
    kind, values = found.kind, found.values
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
