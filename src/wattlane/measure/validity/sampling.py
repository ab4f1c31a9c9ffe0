"""Sampling: a source that repeats itself, readings that are missing, a window too short for the sensor's step.

A cached source (an exporter's default refresh is 30 s) repeats its last value at every read. Its true refresh is found
from when its values change; a window must hold several of them. A source that stops changing at all has frozen: the
counter of a card in use never stands still.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from wattlane.measure.validity.codes import Code, Level, Reason
from wattlane.measure.validity.estimates import change_times_s, source_refresh_s
from wattlane.measure.validity.levels import CONSTANT_SPAN_S
from wattlane.measure.validity.scene import Array, Scene, Series

SLOW_S = 0.5  # a card's own sensors renew within this; what is slower is a cache
STALE_REFRESHES = 5
LEAST_STEPS = 10
SEEN = 1.5  # polls per step above which the step is the sensor's and not that of the polls
LONGEST_GAP_S = 1.0
GAP_PERIODS = 5
MISSING_SHARE = 0.05
FEWEST_CHANGES = 4
FEWEST_REPEATS = 3
FROZEN_WITH_COUNTER = (10, 2.0)  # refreshes, seconds: a counter that works moves at every refresh
FROZEN_WITHOUT = (30, 10.0)  # power alone may stand still for a while


def check_stale(scene: Scene) -> Iterator[Reason]:
    """Refuse windows shorter than several true refreshes of the source, or than ten steps of the sensor."""
    length_s = scene.activity.length_s
    for series in scene.series:
        period_s, poll_s = source_refresh_s(series), _poll_s(series)
        if period_s is None or poll_s is None:
            continue
        if _never_changes(series):
            continue
        frozen_s = _frozen_s(series, scene.activity.start_s, scene.activity.end_s)
        if frozen_s is not None:
            yield Reason(
                Code.STALE_SOURCE,
                f"{series.device} said nothing new for {frozen_s:.2g} s; it is renewed about every {period_s:.2g} s",
            )
            continue
        steps = length_s / period_s
        is_repeated = period_s > max(SLOW_S, 2 * poll_s)
        if is_repeated and steps < STALE_REFRESHES:
            yield Reason(
                Code.STALE_SOURCE,
                f"{series.device} is read every {poll_s:.2g} s and renewed about every {period_s:.2g} s; "
                f"the window is {length_s:.3g} s",
            )
        elif steps < LEAST_STEPS:
            yield Reason(
                Code.WINDOW_TOO_SHORT,
                f"the window of {length_s:.3g} s holds {steps:.1f} steps of {series.device}, one each {period_s:.2g} s",
                Level.QUARANTINED if steps < LEAST_STEPS / 2 and period_s > SEEN * poll_s else Level.WARNED,
            )


def check_missing(scene: Scene) -> Iterator[Reason]:
    """Find silences and failed reads inside the window."""
    activity = scene.activity
    for series in scene.series:
        values = series.counter_j if series.has_counter else series.used_power_w
        good = np.isfinite(values)
        poll_s = _poll_s(series)
        if not good.any() or poll_s is None:
            yield Reason(Code.MISSING_SAMPLES, f"{series.device} gave no value at all")
            continue
        inside = (series.time_s >= activity.start_s) & (series.time_s <= activity.end_s)
        longest_s = _longest_gap_s(series.time_s[good], activity.start_s, activity.end_s)
        failed = float((inside & ~good).sum()) / max(int(inside.sum()), 1)
        limit_s = max(LONGEST_GAP_S, GAP_PERIODS * poll_s)
        if longest_s > limit_s:
            yield Reason(
                Code.MISSING_SAMPLES,
                f"{series.device} was silent for {longest_s:.2f} s of the {activity.length_s:.3g} s window "
                f"(limit {limit_s:.2g} s)",
            )
        elif failed > MISSING_SHARE:
            yield Reason(Code.MISSING_SAMPLES, f"{failed:.0%} of the reads of {series.device} failed")


def _frozen_s(series: Series, start_s: float, end_s: float) -> float | None:
    """Return how long a source that was renewed before said nothing new inside a window; None if not for long."""
    changes = np.unique(
        np.concatenate([change_times_s(series.time_s, v) for v in (series.counter_j, series.power_w, series.average_w)])
    )
    if len(changes) < FEWEST_CHANGES:
        return None
    refreshes, least_s = FROZEN_WITH_COUNTER if series.has_counter else FROZEN_WITHOUT
    limit_s = max(refreshes * float(np.median(np.diff(changes))), least_s)
    edges_s = np.append(changes, series.time_s[-1])
    for after_s, before_s in pairwise(edges_s):
        inside_s = min(before_s, end_s) - max(after_s, start_s)
        repeats = int(((series.time_s > after_s) & (series.time_s < before_s)).sum())
        if inside_s > limit_s and repeats >= FEWEST_REPEATS:
            return float(inside_s)
    return None


def _never_changes(series: Series) -> bool:
    """Return whether a long record holds one power and no counter: a constant, not a cache."""
    known = series.used_power_w[np.isfinite(series.used_power_w)]
    is_long = len(series.time_s) > 1 and float(np.ptp(series.time_s)) >= CONSTANT_SPAN_S
    return not series.has_counter and is_long and len(known) > 0 and float(np.ptp(known)) == 0


def _poll_s(series: Series) -> float | None:
    return float(np.median(np.diff(series.time_s))) if len(series.time_s) >= 3 else None


def _longest_gap_s(times_s: Array, start_s: float, end_s: float) -> float:
    """Return the longest time without a reading that touches the window; outside the record all is silence."""
    before, after = times_s[times_s <= start_s], times_s[times_s >= end_s]
    inside = times_s[(times_s > start_s) & (times_s < end_s)]
    first = before[-1:] if len(before) else np.array([start_s])
    last = after[:1] if len(after) else np.array([end_s])
    return float(np.diff(np.concatenate((first, inside, last))).max())
