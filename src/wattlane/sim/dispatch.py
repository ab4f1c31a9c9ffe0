"""The policies the kernel may use, compiled here and chosen by an integer: a kernel that took a function could not be
cached. The gateway calls the same functions uncompiled."""

from __future__ import annotations

import numpy as np

from wattlane.model.jit import kernel
from wattlane.policy import release, route
from wattlane.sim.engine.layout import CLOCK_KIND, DECODE_CLOCK, PREFILL_CLOCK, QUEUED, SEATS

IMMEDIATE, WINDOWED = 0, 1
FIXED_CLOCK, PHASE_CLOCK = 0, 1
ROUND_ROBIN, LEAST_LOADED = 0, 1

_immediate = kernel(release.immediate)
_windowed = kernel(release.windowed)
_round_robin = kernel(route.round_robin)
_least_loaded = kernel(route.least_loaded)


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
def replica_for(kind: int, position: int, eligible: np.ndarray, at: np.ndarray) -> int:
    """Return which of the replicas `eligible` (count,) serves the request at `position`; `at` is their state."""
    if kind == LEAST_LOADED:
        return eligible[_least_loaded(at[eligible, SEATS] + at[eligible, QUEUED])]
    return eligible[_round_robin(position, eligible.size)]
