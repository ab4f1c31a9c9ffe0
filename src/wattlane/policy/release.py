"""When a request is let through to the engine: never before it arrived, in order of arrival.

`immediate` is what every engine does by itself. `windowed` holds each request to the next multiple of a window, so
that requests reach the engine in groups; it adds at most the window to the TTFT (Delavande 2026 calls this arrival
shaping; its printed factor of 100 is unverified).
"""

from __future__ import annotations

import math


def immediate(arrival_s: float, _window_s: float) -> float:
    """Return the release time of a request that is not held."""
    return arrival_s


def windowed(arrival_s: float, window_s: float) -> float:
    """Return the first multiple of `window_s` at or after the arrival; a window of 0 releases at once."""
    if window_s <= 0.0:
        return arrival_s
    release_s = math.ceil(arrival_s / window_s) * window_s
    # arrival/window may round down onto a multiple just below the arrival
    return release_s if release_s >= arrival_s else arrival_s
