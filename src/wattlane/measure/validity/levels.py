"""Power levels: idle, near idle, above the limit, none at all, constant.

    quarantined: P̄ <= 1.1 · P_context_idle, P̄ > 1.05 · limit, E <= 0     warned: P̄ <= 1.3 · P_context_idle

Both are of the energy of the whole window over its length, for an engine that was busy in it.
Source: the eleven published serving rows of arXiv 2601.22362, three of which sit at idle power.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from wattlane.measure.validity.codes import Code, Level, Reason
from wattlane.measure.validity.estimates import mean_w
from wattlane.measure.validity.scene import Scene

AT_IDLE = 1.1
NEAR_IDLE = 1.3
OVER_LIMIT = 1.05
LEAST_S = 1.0  # power of a shorter window cannot be told from the idle before it
CONSTANT_SAMPLES = 20
CONSTANT_SPAN_S = 60.0
SAME = 1e-3  # relative spread below which printed figures are the same constant


def level_reason(power_w: float, context_idle_w: float | None, cap_w: float | None, device: str = "") -> Reason | None:
    """Return what is wrong with the mean power of one device that was busy, watts; None if nothing."""
    name = f"{device} " if device else ""
    if not power_w > 0:
        return Reason(Code.NONPOSITIVE_ENERGY, f"{name}drew {power_w:.3g} W on average while the engine worked")
    if cap_w is not None and power_w > OVER_LIMIT * cap_w:
        return Reason(Code.ABOVE_LIMIT, f"{name}drew {power_w:.0f} W on average; its limit is {cap_w:.0f} W")
    if context_idle_w is None or power_w > NEAR_IDLE * context_idle_w:
        return None
    share = (
        f"{name}drew {power_w:.0f} W on average, {power_w / context_idle_w:.2f} times its {context_idle_w:.0f} W idle"
    )
    if power_w <= AT_IDLE * context_idle_w:
        return Reason(Code.BUSY_AT_IDLE, share)
    return Reason(Code.BUSY_NEAR_IDLE, share, Level.WARNED)


def check_levels(scene: Scene) -> Iterator[Reason]:
    """Judge the mean power of each device over the window."""
    activity = scene.activity
    if not activity.is_busy or activity.length_s < LEAST_S:
        return
    for series in scene.series:
        facts = scene.fact(series.device)
        power_w = mean_w(series, activity.start_s, activity.end_s)
        if power_w is None:
            continue
        found = level_reason(power_w, facts.context_idle_w, facts.cap_w, series.device)
        if found is not None:
            yield found


def check_constant(scene: Scene) -> Iterator[Reason]:
    """Find a power that never changes; a counter beside it, or a short record, leaves the question open."""
    for series in scene.series:
        power_w = series.used_power_w
        good = np.isfinite(power_w)
        if series.has_counter or good.sum() < CONSTANT_SAMPLES:
            continue
        span_s = float(np.ptp(series.time_s[good]))
        if span_s >= CONSTANT_SPAN_S and np.ptp(power_w[good]) == 0:
            yield Reason(
                Code.CONSTANT_VALUE,
                f"{series.device} said {power_w[good][0]:g} W in all {good.sum()} readings of {span_s:.0f} s",
            )


def constant_across(name: str, energy_j: Sequence[float], duration_s: Sequence[float]) -> Reason | None:
    """Return a reason if runs of different lengths all have the same energy over duration: time in disguise."""
    energies, lengths = np.asarray(energy_j, dtype=float), np.asarray(duration_s, dtype=float)
    if len(lengths) < 3 or np.ptp(lengths) <= 0.05 * lengths.mean():
        return None
    power_w = energies / lengths
    if np.ptp(power_w) > SAME * abs(float(power_w.mean())):
        return None
    return Reason(Code.CONSTANT_VALUE, f"{name} is {power_w.mean():.1f} W in all {len(lengths)} runs")
