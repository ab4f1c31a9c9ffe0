"""The policies the kernel may use, compiled here and chosen by an integer: a kernel that took a function could not be
cached. The gateway calls the same functions uncompiled."""

from __future__ import annotations

import numpy as np

from wattlane.model.jit import kernel
from wattlane.policy import release, route, scale
from wattlane.sim.engine.foresight import foreseen, pool_load, resident_tokens
from wattlane.sim.engine.layout import (
    ACTIVE,
    ARRIVAL_S,
    BALANCE,
    CLOCK_KIND,
    DECODE_CLOCK,
    MARGIN,
    PERIOD_S,
    POOL,
    PREFILL_CLOCK,
    QUEUED,
    SEATS,
    SETTINGS,
    TBT_S,
    TTFT_S,
    Engine,
)

IMMEDIATE, WINDOWED = 0, 1
FIXED_CLOCK, PHASE_CLOCK = 0, 1
ROUND_ROBIN, LEAST_LOADED, MOST_LOADED, LEAST_ENERGY, PREFIX_AWARE, WATTLANE = 0, 1, 2, 3, 4, 5
PARKING = 0
TARGET, PRESSURE, LEAST = SETTINGS, SETTINGS + 1, SETTINGS + 2  # settings of scaling

_immediate = kernel(release.immediate)
_windowed = kernel(release.windowed)
_round_robin = kernel(route.round_robin)
_least_loaded = kernel(route.least_loaded)
_most_loaded = kernel(route.most_loaded)
_least_energy = kernel(route.least_energy)
_prefix_aware = kernel(route.prefix_aware)
_wattlane = kernel(route.wattlane)
_parking = kernel(scale.parking)


@kernel
def release_times(kind: int, window_s: float, arrival_s: np.ndarray) -> np.ndarray:
    """Return when each request is let through, shape of `arrival_s`."""
    out = np.empty_like(arrival_s)
    for i in range(arrival_s.size):
        if kind == WINDOWED:
            out[i] = _windowed(arrival_s[i], window_s)
        else:
            out[i] = _immediate(arrival_s[i], window_s)
    return out


@kernel
def routes(replicas: int, requests: int) -> np.ndarray:
    """Return the replica of each request in order of release, shape (requests,)."""
    out = np.empty(requests, np.int64)
    for i in range(requests):
        out[i] = _round_robin(i, replicas)
    return out


@kernel
def clock_index(limits: np.ndarray, prompts: bool) -> int:
    """Return the clock wanted for an iteration, an index into the laws of the replica."""
    if limits[CLOCK_KIND] == PHASE_CLOCK and prompts:
        return limits[PREFILL_CLOCK]
    return limits[DECODE_CLOCK]


@kernel
def needs_state(kind: int) -> bool:
    """Whether a routing policy looks at what the replicas are doing."""
    return kind != ROUND_ROBIN


@kernel
def replica_for(kind: int, position: int, eligible: np.ndarray, e: Engine, r: int, now: float) -> int:
    """Return which of the replicas `eligible` (count,) serves request `r`, the one at `position`."""
    count, best = eligible.size, -1
    if count == 1:
        return eligible[0]
    if kind == ROUND_ROBIN:
        return eligible[_round_robin(position, count)]
    requests = np.empty(count, np.int64)
    for i in range(count):
        requests[i] = e.at[eligible[i], SEATS] + e.at[eligible[i], QUEUED]
    if kind == PREFIX_AWARE:
        found = np.empty(count, np.int64)
        for i in range(count):
            found[i] = resident_tokens(e, eligible[i], r)
        best = _prefix_aware(found, requests, int(e.rates[eligible[0], BALANCE]))
    elif kind != LEAST_LOADED:
        joules, wait_s = np.empty(count), np.empty(count)
        fits, awake = np.empty(count, np.bool_), np.empty(count, np.bool_)
        margin = e.rates[eligible[0], MARGIN] if kind == WATTLANE else 1.0
        for i in range(count):
            gap_s, wait_s[i], joules[i], state = foreseen(e, eligible[i], r, now)
            rates = e.rates[eligible[i]]
            in_time = now - e.real[r, ARRIVAL_S] + wait_s[i] <= margin * rates[TTFT_S]
            fits[i], awake[i] = in_time and gap_s <= margin * rates[TBT_S], state == 0
        if kind == MOST_LOADED:
            best = _most_loaded(requests, fits)
        elif kind == LEAST_ENERGY:
            best = _least_energy(joules, fits)
        else:
            best = _wattlane(joules, requests, fits, awake, wait_s)
    return eligible[best if best >= 0 else _least_loaded(requests)]


@kernel
def scales(kind: int) -> bool:
    """Whether a controller decides how many replicas are active."""
    return kind == PARKING


@kernel
def active_counts(control: np.ndarray, e: Engine, recent: np.ndarray) -> np.ndarray:
    """Return how many replicas of each pool a controller wants active, (pools,), from the totals of its last period."""
    pools = int(e.limits[:, POOL].max()) + 1
    out = np.zeros(pools, np.int64)
    for pool in range(pools):
        waiting = active = size = 0
        for rep in range(e.at.shape[0]):
            if e.limits[rep, POOL] == pool:
                size += 1
                active += e.at[rep, ACTIVE]
                waiting += e.at[rep, QUEUED]
        load = pool_load(e, pool, recent, control[PERIOD_S])
        pressure, least = int(control[PRESSURE]), int(control[LEAST])
        out[pool] = _parking(load, control[TARGET], waiting, active, pressure, least, size)
    return out
