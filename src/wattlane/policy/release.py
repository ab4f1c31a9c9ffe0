"""When a request is let through to the engine: never before it arrived.

`immediate` is what every engine does by itself. `windowed` holds each request to the next multiple of a window, so
that requests reach the engine in groups; it adds at most the window to the TTFT (Delavande 2026 calls this arrival
shaping; its printed factor of 100 is unverified). It is the rule by which a windowed workload is sent to a real engine.
The others hold a request on their own account; the reason is in each. Times are seconds of the workload.
"""

from __future__ import annotations

import numpy as np

from wattlane.core.release import window_end as windowed

__all__ = ["deadline_aware", "immediate", "lowest_carbon", "slack_aware", "spaced", "windowed"]


def immediate(arrival_s: float, _window_s: float) -> float:
    """Return the release time of a request that is not held."""
    return arrival_s


def spaced(arrival_s: float, last_s: float, spacing_s: float) -> float:
    """Return the release of a request at least `spacing_s` after the one before, released at `last_s`.

    Fixed spacing is the arrival shaping that Delavande 2026 (arXiv 2601.22362) measured: up to 100 times less energy a
    request, of requests sent one every so often against all at once or far apart; the factor is that of the rate.
    """
    return max(arrival_s, last_s + spacing_s)


def slack_aware(arrival_s: float, slack_s: float, busy_until_s: float, mean_gap_s: float, gain_j: float) -> float:
    """Return until when a request may be held for others to join it.

    It is held for its slack, what its TTFT target leaves after its own prompt, only where that pays: nobody is expected
    to run (beside a running batch it costs no more than in a fuller one later), another request is expected within
    the slack, and two served together take fewer joules by the law than two alone. The project's own rule, after the
    observation of Delavande 2026 that requests are cheaper together.
    """
    if arrival_s < busy_until_s or mean_gap_s > slack_s or gain_j <= 0.0 or slack_s <= 0.0:
        return arrival_s
    return arrival_s + slack_s


def deadline_aware(arrival_s: float, deadline_s: float, service_s: float, margin_s: float) -> float:
    """Return the latest release that keeps a deadline: deadline − predicted service − margin, or the arrival.

    Deferring to the latest moment leaves the most room for urgent work; no claim of energy was published for it.
    """
    return max(arrival_s, deadline_s - service_s - margin_s)


def lowest_carbon(arrival_s: float, latest_s: float, intensity: np.ndarray, start_s: float, step_s: float) -> float:
    """Return the beginning of the step of least `intensity` (steps,) from arrival to `latest_s`, or the arrival.

    Step h begins at start + h·step and the series repeats; of equals the earliest. The temporal half of FREESH (arXiv
    2511.00807), which also moves load between sites. Published for both together: 45 % less carbon, 29 % less energy.
    """
    step = int(np.floor((arrival_s - start_s) / step_s))
    best_s, least = arrival_s, intensity[step % intensity.size]
    for k in range(1, intensity.size + 1):
        begins_s = start_s + (step + k) * step_s
        if begins_s > latest_s:
            break
        here = intensity[(step + k) % intensity.size]
        if here < least:
            best_s, least = begins_s, here
    return best_s
