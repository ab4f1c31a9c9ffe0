"""The energy counter: falls, stops, disagrees with power, or speaks another unit.

    disagreement = min over a shift of 0-1 s of |P̄_power − P̄_counter| / P̄_counter

The shift takes out the lag of averaged power, which is not a disagreement. A factor near a power of 1000, or near 3.6
times one, is a unit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wattlane.measure.validity.codes import Code, Level, Reason
from wattlane.measure.validity.estimates import counter_mean_w, mean_w, power_mean_w
from wattlane.measure.validity.scene import Array, Scene, Series

# Ranges at which known counters wrap: 32 bits of mJ, of uJ, of RAPL's 61 uJ and 15.3 uJ units.
RANGES_J = (2**32 / 1e3, 2**32 / 1e6, 2**32 * 61.03515625e-6, 2**32 * 15.2587890625e-6)
UNITS = {1e3: "mJ", 1e6: "uJ", 1e-3: "kJ", 1 / 3.6e3: "Wh", 1 / 3.6e6: "kWh"}
UNIT_SLACK = 1.5
DISAGREE = 0.05
DISAGREE_BADLY = 0.1
STALL_S = 1.0
STALL_TICKS = 10


def check_falls(scene: Scene) -> Iterator[Reason]:
    """Tell a counter that wrapped at a known range from one that was reset."""
    for series in scene.series:
        good = np.isfinite(series.counter_j)
        times_s, counter_j = series.time_s[good], series.counter_j[good]
        for i in np.flatnonzero(np.diff(counter_j) < 0):
            if times_s[i + 1] < scene.activity.start_s or times_s[i] > scene.activity.end_s:
                continue
            before_j, after_j = float(counter_j[i]), float(counter_j[i + 1])
            range_j = _wrapped_at(times_s, counter_j, int(i))
            where = f"{series.device} fell from {before_j:.0f} J to {after_j:.0f} J"
            if range_j is None:
                yield Reason(Code.COUNTER_RESET, where)
            else:
                yield Reason(Code.COUNTER_WRAP, f"{where}, which is a wrap at {range_j:.0f} J")


def check_frozen(scene: Scene) -> Iterator[Reason]:
    """Find a counter that stands still while power says otherwise."""
    activity = scene.activity
    for series in scene.series:
        inside = scene.window(series)
        good = np.isfinite(inside.counter_j)
        if good.sum() < 3:
            continue
        times_s, counter_j = inside.time_s[good], inside.counter_j[good]
        moves_s = times_s[1:][np.diff(counter_j) != 0]
        stalls = np.diff(np.concatenate((times_s[:1], moves_s, times_s[-1:])))
        longest_s = float(stalls.max())
        tick_s = float(np.median(np.diff(moves_s))) if len(moves_s) > 1 else 0.0
        gap_s = float(np.diff(times_s).max())
        limit_s = max(STALL_S, STALL_TICKS * min(tick_s, STALL_S), 2 * gap_s)
        power_w = power_mean_w(series, activity.start_s, activity.end_s)
        if longest_s > limit_s and power_w is not None and power_w > 0 and _power_moves(inside):
            yield Reason(
                Code.COUNTER_FROZEN,
                f"the counter of {series.device} stood still for {longest_s:.1f} s while {power_w:.0f} W were drawn",
            )


def check_agreement(scene: Scene) -> Iterator[Reason]:
    """Compare counter and integrated power over the window."""
    activity = scene.activity
    for series in scene.series:
        by_counter = counter_mean_w(series, activity.start_s, activity.end_s)
        if by_counter is None or not series.has_power or not by_counter > 0:
            continue
        gap, power_w = _least_gap(series, by_counter, activity.start_s, activity.end_s)
        limit = DISAGREE + _noise(scene.window(series))
        if gap <= limit:
            continue
        yield Reason(
            Code.COUNTER_DISAGREES,
            f"{series.device}: counter {by_counter:.1f} W, integrated power {power_w:.1f} W, {gap:.0%} apart "
            f"(limit {limit:.0%})",
            Level.QUARANTINED if gap > limit + DISAGREE_BADLY - DISAGREE else Level.WARNED,
        )


def check_unit(scene: Scene) -> Iterator[Reason]:
    """Find a factor of 1000 or 3.6 between counter and power, or between either and what the card can draw."""
    activity = scene.activity
    for series in scene.series:
        facts = scene.fact(series.device)
        by_counter = counter_mean_w(series, activity.start_s, activity.end_s)
        by_power = power_mean_w(series, activity.start_s, activity.end_s) if series.has_power else None
        if by_counter is not None and by_power is not None and by_counter > 0 and by_power > 0:
            unit = _unit(by_counter / by_power)
            if unit:
                yield Reason(
                    Code.WRONG_UNIT,
                    f"{series.device}: counter {by_counter:.3g} W, power {by_power:.3g} W; the counter is in {unit}",
                )
                continue
        power_w = mean_w(series, activity.start_s, activity.end_s)
        if power_w is None or facts.cap_w is None or not power_w > 0:
            continue
        lowest_w = (facts.idle_w or facts.context_idle_w or 0.05 * facts.cap_w) / 2
        if power_w > 20 * facts.cap_w or power_w < lowest_w / 10:
            yield Reason(
                Code.WRONG_UNIT,
                f"{series.device} says {power_w:.3g} W on average; it draws {lowest_w * 2:.0f} to {facts.cap_w:.0f} W",
            )


def _wrapped_at(times_s: Array, counter_j: Array, i: int) -> float | None:
    """Return the range at which a fall after reading `i` is a wrap: the joules then fit the slope around it."""
    steps_j = np.diff(counter_j)
    lengths_s = np.diff(times_s)
    usual = steps_j[steps_j >= 0].sum() / max(float(lengths_s[steps_j >= 0].sum()), 1e-9)
    reach_j = 4 * usual * max(float(lengths_s[i]), 0.3) + 1.0
    for range_j in RANGES_J:
        if counter_j[i] <= range_j and 0 <= counter_j[i + 1] + range_j - counter_j[i] <= reach_j:
            return range_j
    return None


def _power_moves(inside: Series) -> bool:
    values = inside.used_power_w
    good = values[np.isfinite(values)]
    return len(good) > 2 and float(np.ptp(good)) > 0


def _least_gap(series: Series, by_counter: float, start_s: float, end_s: float) -> tuple[float, float]:
    """Return (relative gap, power mean) at the shift within 0-1 s where they agree best."""
    last_s = float(series.time_s[-1])
    best = (np.inf, 0.0)
    for shift_s in np.arange(0.0, 1.01, 0.1):
        if shift_s and end_s + shift_s > last_s:
            break
        power_w = power_mean_w(series, start_s + shift_s, end_s + shift_s)
        if power_w is not None:
            best = min(best, (abs(power_w - by_counter) / by_counter, power_w))
    return best


def _noise(inside: Series) -> float:
    """Return two standard errors of the mean of the power samples, relative: what part-time sampling may miss."""
    values = inside.used_power_w
    good = values[np.isfinite(values)]
    if len(good) < 3 or not good.mean() > 0:
        return 0.0
    distinct = max(int((np.diff(good) != 0).sum()) + 1, 2)
    return float(2 * good.std() / good.mean() / np.sqrt(distinct))


def _unit(ratio: float) -> str:
    for factor, name in UNITS.items():
        if 1 / UNIT_SLACK < ratio / factor < UNIT_SLACK:
            return name
    return ""
