"""Averaged power taken for instant power: harmless in a long steady window, wrong in a short one.

A running average of length τ reaches half of a step τ/2 after it, both when work begins and when it ends. Seen on both
sides, it is the sensor and not the load. Where a counter is there the energy is the counter's, and nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wattlane.measure.validity.codes import Code, Level, Reason
from wattlane.measure.validity.scene import Array, Scene, Series

LAGS = 20
HALF_RISE_S = 0.25
LOOK_S = 3.0
ASSUMED_AVERAGE_S = 1.0


def check_averaged(scene: Scene) -> Iterator[Reason]:
    """Find averaged power used as the energy source of a window shorter than 20 averaging times."""
    length_s = scene.activity.length_s
    for series in scene.series:
        if series.has_counter or not series.has_power:
            continue
        is_said = not np.isfinite(series.power_w).any()
        lag_s = _step_lag_s(scene, series)
        if lag_s is None and not is_said:
            continue
        average_s = lag_s if lag_s is not None else ASSUMED_AVERAGE_S
        if length_s < LAGS * average_s:
            yield Reason(
                Code.AVERAGED_POWER,
                f"{series.device} gives a running average of about {average_s:.1f} s; the window is {length_s:.3g} s",
                Level.QUARANTINED if length_s < LAGS / 2 * average_s else Level.WARNED,
            )


def _step_lag_s(scene: Scene, series: Series) -> float | None:
    """Return the averaging time seen at both ends of the work, seconds; None if it is instant or cannot be told."""
    activity = scene.activity
    start_s = activity.first_request_s if activity.first_request_s is not None else activity.start_s
    end_s = activity.last_end_s if activity.last_end_s is not None else activity.end_s
    power_w = series.used_power_w
    good = np.isfinite(power_w)
    times_s, watts = series.time_s[good], power_w[good]
    before, after = watts[times_s < start_s], watts[times_s > end_s + LOOK_S / 2]
    if len(before) < 3 or len(after) < 3:
        return None
    rest_w = float(np.median(np.concatenate((before, after))))
    rise_s = _half_time_s(times_s, watts, start_s, rest_w, _level_w(times_s, watts, start_s, end_s, 0.0), rising=True)
    fall_s = _half_time_s(times_s, watts, end_s, rest_w, _level_w(times_s, watts, start_s, end_s, 1.0), rising=False)
    if rise_s is None or fall_s is None or min(rise_s, fall_s) < HALF_RISE_S:
        return None
    return rise_s + fall_s


def _level_w(times_s: Array, watts: Array, start_s: float, end_s: float, side: float) -> float:
    """Return the typical power of the work near one of its ends (0 its start, 1 its end)."""
    length_s = min(end_s - start_s, 2 * LOOK_S)
    from_s = start_s if side == 0.0 else end_s - length_s
    inside = watts[(times_s >= from_s) & (times_s <= from_s + length_s)]
    return float(np.quantile(inside, 0.75)) if len(inside) else float("nan")


def _half_time_s(
    times_s: Array,
    watts: Array,
    edge_s: float,
    rest_w: float,
    level_w: float,
    *,
    rising: bool,
) -> float | None:
    """Return how long after an edge the power crossed half of the step; None if the step is small or never crossed."""
    if not level_w > 1.3 * rest_w:
        return None
    half_w = (rest_w + level_w) / 2
    look = (times_s >= edge_s) & (times_s <= edge_s + LOOK_S)
    crossed = watts[look] >= half_w if rising else watts[look] <= half_w
    return float(times_s[look][np.argmax(crossed)] - edge_s) if crossed.any() else None
