"""The policies the kernel may use, compiled here and chosen by an integer: a kernel that took a function could not be
cached. The gateway calls the same functions uncompiled."""

from __future__ import annotations

import numpy as np

from wattlane.model.jit import kernel
from wattlane.policy import release, route

IMMEDIATE, WINDOWED = 0, 1

_immediate = kernel(release.immediate)
_windowed = kernel(release.windowed)
_round_robin = kernel(route.round_robin)


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
