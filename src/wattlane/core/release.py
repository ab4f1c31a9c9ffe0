"""When a held request is let through: at the end of the window in which it arrived.

    release = ⌈arrival / window⌉ · window

The one definition behind windowed workloads, the release policy and, in numba's subset, the simulator's kernel.
"""

from __future__ import annotations

import math


def window_end(arrival_s: float, window_s: float) -> float:
    """Return the first multiple of `window_s` at or after the arrival; a window of 0 releases at once."""
    if window_s <= 0.0:
        return arrival_s
    release_s = math.ceil(arrival_s / window_s) * window_s
    # arrival/window may round down onto a multiple just below the arrival
    return release_s if release_s >= arrival_s else arrival_s
