"""How much is asked: the scenario's hour at a share of full load, for each seed.

100 % is the highest rate at which the default with its best batch limits keeps the SLO's attainment, found by bisection
on the tuning seed. A load is set by compressing or stretching the arrivals in time, which keeps every request and the
shape of the traffic; thinning a faster hour at random instead is the check. Every hour is followed by a quarter of an
hour without arrivals, stretched alike, which all controllers are charged for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from wattlane.core.errors import InfeasibleError, InputError
from wattlane.core.workload import Workload

IDLE_SHARE = 0.25  # of the span of the arrivals, without any, at the end
TUNING = 0  # the seed on which limits are tuned and full load is found; scored seeds count from 1
TOLERANCE = 0.01
LOWEST_RPS, HIGHEST_RPS = 1e-3, 1e6
Draw = Callable[[int], Workload]  # the requests of a seed


@dataclass(frozen=True, eq=False)
class Traffic:
    """A named source of requests: `of(0)` is for tuning, `of(1)` and so on are scored."""

    name: str
    source: str
    draw: Draw

    @cache  # noqa: B019 - a suite holds two of them to its end
    def of(self, seed: int) -> Workload:
        """Return the requests of a seed at the rate of their source, from 0 s on."""
        made = self.draw(seed)
        return made.take(np.arange(len(made)), made.arrival_s - made.arrival_s[0])


def at_rate(workload: Workload, rate_rps: float) -> Workload:
    """Return the same requests, arrivals compressed or stretched to a mean rate."""
    return workload.take(np.arange(len(workload)), workload.arrival_s * (workload.rate_rps / rate_rps))


def thinned(workload: Workload, rate_rps: float, seed: int) -> Workload:
    """Return a random part of the requests of a faster workload, in their places, with a mean rate of `rate_rps`."""
    kept = np.random.default_rng([seed, 1]).random(len(workload)) < rate_rps / workload.rate_rps
    kept[[0, -1]] = True  # the span stays
    rows = np.flatnonzero(kept)
    return workload.take(rows, workload.arrival_s[rows])


def account_end_s(workload: Workload) -> float:
    """Return when the account ends, the same for every controller: the span and its share of idle time."""
    return float(workload.arrival_s[0]) + (1.0 + IDLE_SHARE) * workload.span_s


@dataclass(frozen=True)
class FullLoad:
    """The rate called 100 %: kept at `rate_rps` and missed at `missed_rps`, with the batch limits `knobs`."""

    rate_rps: float
    attainment: float
    missed_rps: float
    missed_attainment: float
    knobs: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**vars(self), "knobs": dict(self.knobs)}


Attained = Callable[[float, Mapping[str, float]], float]


def full_load(options: list[Mapping[str, float]], attained: Attained, target: float, start_rps: float) -> FullLoad:
    """Return full load: the largest rate that any of the batch limits keeps, to `TOLERANCE`.

    `attained(rate, limits)` is the attainment by replay; it is taken to fall with the rate. Limits that miss the target
    a tolerance above the best rate so far are not looked at further.

    Raises:
        InfeasibleError: no limits keep the target at any rate.
        InputError: the target is kept at every rate.
    """
    best: FullLoad | None = None
    for knobs in options:
        low = LOWEST_RPS if best is None else best.rate_rps * (1.0 + TOLERANCE)
        kept = attained(low, knobs)
        if kept < target:
            continue
        high = max(start_rps, low * (1.0 + TOLERANCE))
        missed = attained(high, knobs)
        while missed >= target:
            if high > HIGHEST_RPS:
                raise InputError("requests that all come at once keep the SLO: too few to find full load; give more")
            low, kept = high, missed
            high *= 2.0
            missed = attained(high, knobs)
        while high / low > 1.0 + TOLERANCE:
            middle = float(np.sqrt(low * high))
            found = attained(middle, knobs)
            if found >= target:
                low, kept = middle, found
            else:
                high, missed = middle, found
        best = FullLoad(low, kept, high, missed, knobs)
    if best is None:
        raise InfeasibleError(
            f"no batch limits keep {target:.2%} attainment even at {LOWEST_RPS:g} requests/s; relax the SLO or take a "
            "faster GPU"
        )
    return best
