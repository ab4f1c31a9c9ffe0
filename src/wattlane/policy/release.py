"""When a request is let through to the engine: never before it arrived, in order of arrival.

`immediate` is what every engine does by itself. `windowed` holds each request to the next multiple of a window, so
that requests reach the engine in groups; it adds at most the window to the TTFT (Delavande 2026 calls this arrival
shaping; its printed factor of 100 is unverified). It is the rule by which a windowed workload is sent to a real engine.
"""

from __future__ import annotations

from wattlane.core.release import window_end as windowed

__all__ = ["immediate", "windowed"]


def immediate(arrival_s: float, _window_s: float) -> float:
    """Return the release time of a request that is not held."""
    return arrival_s
