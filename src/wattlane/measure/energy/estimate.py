"""The energy of one window of a record by the best source in it, with its budget.

The counter goes first; integrated power stands in where there is none. Both are compared where both exist. A load that
may hide from part-time samples gets the bound: on integrated power of the whole window; on the counter of the ticks
that hold the edges, and of the whole window where the counter is said to share the part-time sampling, because that
is not settled.

A source behind a cache shows at t + L what was there at t, with L between 0 and its lag. Where L lies is not known, so

    lag part = max over L of |E(start + L, end + L) − E(start, end)|

is added as a bound; it is 0 where power was alike at both edges. Power that is a running mean over A seconds, where a
card gives no instant one, is integrated A / 2 later; it smears each edge by up to A / 8 times a step there, of which
the mean may show half:

    averaging part = A / 4 · Σ over edges of the range of the averages within 3 A / 2 of it          a bound
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wattlane.measure.energy.aliasing import AVERAGE_S, bound_j, find_aliasing
from wattlane.measure.energy.budget import GAIN_SD, Budget
from wattlane.measure.energy.crosscheck import CrossCheck, cross_check
from wattlane.measure.energy.integrate import MAX_GAP_S, PowerEnergy, integrate
from wattlane.measure.energy.ticks import Array, Ticks, reconstruct
from wattlane.measure.energy.window import CounterEnergy, aligned, counter_energy
from wattlane.measure.readings import Reading

GAP_LAGS = 3  # silences of so many refreshes of a cached source leave the energy unknown
LAG_STEPS = 5
NO_LIMIT = "; the power limit is not known, so that the bound ends at the highest power of the record"


@dataclass(frozen=True, slots=True)
class Sensor:
    """What is known of a card's sensors; the defaults hold for a card that was not looked at.

    `lowest_w` and `highest_w` are the least and most it can draw (idle and power limit), for the bound; a limit that
    is not known is the highest power of the record.
    """

    gain_sd: float = GAIN_SD
    tick_s: float | None = None
    lowest_w: float = 0.0
    highest_w: float | None = None
    part_time_counter: bool = False


@dataclass(frozen=True, slots=True)
class WindowEnergy:
    """Energy between `start_s` and `end_s` (moved to ticks where aligned) from `method`, with what was noticed."""

    start_s: float
    end_s: float
    energy_j: Budget
    method: str
    check: CrossCheck | None
    reasons: tuple[str, ...]

    @property
    def length_s(self) -> float:
        """Seconds of the window."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class Record:
    """One device's record as arrays: counters and powers with the times at which each was there.

    `averaged_s` is the length of the running mean that `power_w` is, 0 where it is instant.
    """

    counter_times_s: Array
    counter_j: Array
    power_times_s: Array
    power_w: Array
    average_w: Array | None = None
    lag_s: float = 0.0
    averaged_s: float = 0.0


def to_record(readings: Sequence[Reading]) -> Record:
    """Return the sums over devices of readings as arrays; values that could not be read are left out, never 0."""
    counter = [(r.time_s, r.energy_j) for r in readings if r.energy_j is not None]
    power = [(r.time_s, r.power_w) for r in readings if r.power_w is not None]
    averages = [_average_w(r) for r in readings if r.power_w is not None]
    known = None if any(value is None for value in averages) or not averages else np.array(averages, dtype=float)
    lag_s = max((reading.lag_s for reading in readings), default=0.0)
    channels = [channel for reading in readings for channel in reading.channels]
    is_averaged = known is not None and any(channel.power_w is None for channel in channels)
    return Record(*_columns(counter), *_columns(power), known, lag_s, AVERAGE_S if is_averaged else 0.0)


def window_energy(
    record: Record,
    start_s: float,
    end_s: float,
    *,
    sensor: Sensor = Sensor(),
    align: bool = False,
    load_period_s: float | None = None,
    max_gap_s: float = MAX_GAP_S,
) -> WindowEnergy | None:
    """Return the energy of a window; None where the record does not reach over it.

    Args:
        align: move both edges to the next tick of the counter, so that nothing is interpolated.
        load_period_s: the period of a load known to repeat, such as the steps of a decode loop.
        max_gap_s: a longer silence of the meter inside the window leaves its energy unknown.
    """
    counter, ticks = None, None
    max_gap_s = max(max_gap_s, GAP_LAGS * record.lag_s)
    if _covers(record.counter_times_s, start_s, end_s, max_gap_s):
        ticks = reconstruct(record.counter_times_s, record.counter_j, sensor.tick_s)
        samples = (record.power_times_s, record.power_w)
        counter = aligned(ticks, start_s, end_s) if align else counter_energy(ticks, start_s, end_s, samples)
    low, high = (start_s, end_s) if counter is None else (counter.start_s, counter.end_s)
    power = _power(record, low, high, max_gap_s)
    if counter is None and power is None:
        return None
    check = cross_check(counter, power) if counter is not None and power is not None else None
    reasons: tuple[str, ...] = () if check is None or check.reason is None else (check.reason,)
    hidden_j = 0.0
    signs: tuple[str, ...] = ()
    if power is not None:
        # a running mean hides nothing from its samples: what it says besides is its lag
        told = (None, None) if record.averaged_s > 0 else (record.average_w, check)
        found = find_aliasing(power, record.power_times_s, told[0], load_period_s=load_period_s, check=told[1])
        signs = found.reasons
        if signs:
            limits_w = _limits_w(record, sensor)
            if counter is not None and ticks is not None and not align:
                counter = counter_energy(ticks, low, high, limits_w=limits_w)
            if counter is None or sensor.part_time_counter:
                hidden_j = _hidden_j(power, limits_w)
                signs = signs if sensor.highest_w is not None else (*signs[:-1], signs[-1] + NO_LIMIT)
    budget = _budget(counter, power, sensor.gain_sd, hidden_j)
    if record.lag_s > 0:
        shown = ticks if counter is not None else None
        budget = replace(budget, bounds={**budget.bounds, "lag": _lag_j(record, shown, budget.value, low, high)})
    return WindowEnergy(low, high, budget, "counter" if counter is not None else "power", check, (*reasons, *signs))


def _budget(counter: CounterEnergy | None, power: PowerEnergy | None, gain_sd: float, hidden_j: float) -> Budget:
    bounds = {"aliasing": hidden_j} if hidden_j else {}
    if counter is not None and counter.hidden_j:
        bounds["aliasing_edges"] = counter.hidden_j
    if counter is not None:
        random = {"tick": counter.tick_sd_j, "edges": counter.edges_sd_j}
        return Budget(counter.energy_j, random, {"sensor_gain": gain_sd * abs(counter.energy_j)}, bounds)
    assert power is not None
    random = {"edges": power.edges_sd_j, "samples": power.samples_sd_j}
    gain = {"sensor_gain": gain_sd * abs(power.energy_j)}
    averaging = {"averaging": power.averaging_j} if power.averaging_j else {}
    return Budget(power.energy_j, random, gain, {"gaps": power.gaps_j, **averaging, **bounds})


def _power(record: Record, start_s: float, end_s: float, max_gap_s: float) -> PowerEnergy | None:
    """Return integrated power, averages moved back by half of their length."""
    times_s, power_w, half_s = record.power_times_s, record.power_w, record.averaged_s / 2
    moved = integrate(times_s, power_w, start_s + half_s, end_s + half_s, max_gap_s=max_gap_s)
    if moved is None or half_s == 0:
        return moved
    beside = [power_w[np.abs(times_s - edge_s) <= 3 * half_s] for edge_s in (start_s + half_s, end_s + half_s)]
    averaging_j = half_s / 2 * sum(float(np.ptp(near)) for near in beside if len(near))
    return replace(moved, start_s=start_s, end_s=end_s, averaging_j=averaging_j)


def _lag_j(record: Record, ticks: Ticks | None, energy_j: float, start_s: float, end_s: float) -> float:
    """Return how far the energy may lie from what is shown because of the source's lag."""
    worst_j = 0.0
    for lag_s in np.linspace(0.0, record.lag_s, LAG_STEPS)[1:]:
        low, high = start_s + float(lag_s), end_s + float(lag_s)
        shifted: CounterEnergy | PowerEnergy | None = (
            integrate(
                record.power_times_s, record.power_w, low, high, max_gap_s=max(MAX_GAP_S, GAP_LAGS * record.lag_s)
            )
            if ticks is None
            else counter_energy(ticks, low, high)
        )
        if shifted is None:  # the record ends before the lag is over: what the end hides is as large as the power
            return max(worst_j, abs(energy_j) / (end_s - start_s) * record.lag_s)
        worst_j = max(worst_j, abs(shifted.energy_j - energy_j))
    return worst_j


def _limits_w(record: Record, sensor: Sensor) -> tuple[float, float]:
    seen_w = float(record.power_w.max())
    return sensor.lowest_w, seen_w if sensor.highest_w is None else max(sensor.highest_w, seen_w)


def _hidden_j(power: PowerEnergy, limits_w: tuple[float, float]) -> float:
    """Return how far the energy may lie from what part-time samples say."""
    low_j, high_j = bound_j(power, *limits_w)
    return max(power.energy_j - low_j, high_j - power.energy_j)


def _covers(times_s: Array, start_s: float, end_s: float, max_gap_s: float) -> bool:
    """Return whether readings follow each other through the window without a gap above `max_gap_s`."""
    if len(times_s) < 2:
        return False
    first = max(int(np.searchsorted(times_s, start_s, side="right")) - 1, 0)
    last = min(int(np.searchsorted(times_s, end_s, side="left")) + 1, len(times_s))
    seen = times_s[first:last]
    reaches = seen[0] <= start_s + max_gap_s and seen[-1] >= end_s - max_gap_s
    return len(seen) >= 2 and bool(reaches) and float(np.diff(seen).max()) <= max_gap_s


def _average_w(reading: Reading) -> float | None:
    values = [channel.average_power_w for channel in reading.channels if channel.average_power_w is not None]
    return sum(values) if values and len(values) == len(reading.channels) else None


def _columns(rows: list[tuple[float, float]]) -> tuple[Array, Array]:
    return np.array([row[0] for row in rows], dtype=float), np.array([row[1] for row in rows], dtype=float)
