"""Figures that several checks share: mean power of a stretch, true refresh of a source, lag of a running average.

refresh = median time between changes of the value, while it changes
counter = (C(end) − C(start)) / T,   power = ∫ P dt / T by trapezoid
"""

from __future__ import annotations

import numpy as np

from wattlane.measure.validity.scene import Array, Series


def counter_mean_w(series: Series, start_s: float, end_s: float) -> float | None:
    """Return mean watts from the counter, its edges interpolated between the ticks around them; None if it cannot."""
    good = np.isfinite(series.counter_j)
    times_s, counter_j = series.time_s[good], series.counter_j[good]
    if len(times_s) < 2 or end_s <= start_s:
        return None
    moved = np.concatenate(([True], np.diff(counter_j) != 0))
    times_s, counter_j = times_s[moved], counter_j[moved]
    if len(times_s) < 3:
        return None
    at = np.interp([start_s, end_s], times_s, counter_j)
    return float(at[1] - at[0]) / (end_s - start_s)


def power_mean_w(series: Series, start_s: float, end_s: float) -> float | None:
    """Return mean watts from the power samples, edges interpolated; None without two samples."""
    power_w = series.used_power_w
    good = np.isfinite(power_w)
    times_s, power_w = series.time_s[good], power_w[good]
    if len(times_s) < 2 or end_s <= start_s:
        return None
    inside = (times_s > start_s) & (times_s < end_s)
    grid_s = np.concatenate(([start_s], times_s[inside], [end_s]))
    watts = np.interp(grid_s, times_s, power_w)
    return float(np.sum((watts[1:] + watts[:-1]) * np.diff(grid_s))) / 2 / (end_s - start_s)


def mean_w(series: Series, start_s: float, end_s: float) -> float | None:
    """Return mean watts of a stretch, by the counter where it can say."""
    by_counter = counter_mean_w(series, start_s, end_s)
    return by_counter if by_counter is not None else power_mean_w(series, start_s, end_s)


def change_times_s(time_s: Array, values: Array) -> Array:
    """Return when the value was first seen changed, seconds."""
    good = np.isfinite(values)
    times, kept = time_s[good], values[good]
    return np.asarray(times[1:][np.diff(kept) != 0])


def refresh_s(time_s: Array, values: Array) -> float | None:
    """Return the true refresh time of a value; at least the record's length when it never changes; None if empty."""
    good = np.isfinite(values)
    times = time_s[good]
    if len(times) < 3:
        return None
    changes = change_times_s(time_s, values)
    if len(changes) < 2:
        return float(times[-1] - times[0]) / (len(changes) + 1)
    return float(np.median(np.diff(changes)))


def source_refresh_s(series: Series) -> float | None:
    """Return how often this device says something new, by whatever it gives: the quickest of its values."""
    found = [
        refresh_s(series.time_s, values)
        for values in (series.counter_j, series.power_w, series.average_w)
        if np.isfinite(values).any()
    ]
    known = [value for value in found if value is not None]
    return min(known) if known else None


def averaging_lag_s(series: Series, longest_s: float = 3.0) -> float | None:
    """Return the length of the running average that turns the counter's power into the reported one, seconds.

    None where it cannot be seen: no counter, no power, or power that hardly varies.
    """
    grid_s, by_counter = _counter_power(series)
    power_w = series.used_power_w
    good = np.isfinite(power_w)
    if len(grid_s) < 40 or good.sum() < 40:
        return None
    reported = np.interp(grid_s, series.time_s[good], power_w[good])
    if np.std(by_counter) < 0.05 * abs(float(np.mean(by_counter))):
        return None
    step_s = float(grid_s[1] - grid_s[0])
    sums = np.concatenate(([0.0], np.cumsum(by_counter)))
    best_s, best = 0.0, np.inf
    for n in range(1, max(2, min(int(longest_s / step_s), len(grid_s) // 3))):
        at = np.arange(len(grid_s) // 3, len(grid_s))
        averaged = (sums[at + 1] - sums[at + 1 - n]) / n
        error = float(np.std(reported[at] - averaged))
        if error < best * (1 - 1e-6):
            best_s, best = (n - 1) * step_s, error
    return best_s if best < 0.8 * float(np.std(reported)) else None


def _counter_power(series: Series) -> tuple[Array, Array]:
    """Return (times, watts) of the counter's slope on a grid of its own tick."""
    none = np.array([])
    tick_s = refresh_s(series.time_s, series.counter_j)
    if tick_s is None or not tick_s > 0:
        return none, none
    good = np.isfinite(series.counter_j)
    times_s, counter_j = series.time_s[good], series.counter_j[good]
    moved = np.concatenate(([True], np.diff(counter_j) != 0))
    times_s, counter_j = times_s[moved], counter_j[moved]
    if len(times_s) < 4:
        return none, none
    edges_s = np.arange(times_s[0], times_s[-1], tick_s)
    watts = np.diff(np.interp(edges_s, times_s, counter_j)) / tick_s
    return edges_s[1:], watts
