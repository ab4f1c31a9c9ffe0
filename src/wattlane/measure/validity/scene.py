"""What a check may look at: the record of each device, facts about it, and what the engine was doing meanwhile.

Times are seconds of one monotonic clock. Arrays hold NaN where a value could not be read. A fact that is not known is
None, and a check that needs it says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from wattlane.measure.readings import Reading

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Series:
    """What one device said: three arrays as long as `time_s`."""

    device: str
    time_s: Array
    counter_j: Array
    power_w: Array
    average_w: Array

    @property
    def has_counter(self) -> bool:
        """Whether the counter was ever read."""
        return bool(np.isfinite(self.counter_j).any())

    @property
    def used_power_w(self) -> Array:
        """Instant power, or the average where the device gives no instant power at all."""
        return self.power_w if np.isfinite(self.power_w).any() else self.average_w

    @property
    def has_power(self) -> bool:
        """Whether any power was ever read."""
        return bool(np.isfinite(self.used_power_w).any())

    def within(self, start_s: float, end_s: float) -> Series:
        """Return the part between two instants, edges included."""
        keep = (self.time_s >= start_s) & (self.time_s <= end_s)
        return Series(self.device, self.time_s[keep], self.counter_j[keep], self.power_w[keep], self.average_w[keep])


class Throttle(StrEnum):
    """Why a card held its clock down."""

    THERMAL = "thermal"
    POWER_CAP = "power cap"
    POWER_BRAKE = "power brake"


@dataclass(frozen=True, slots=True)
class Health:
    """One look at a card beside its energy; None is not known."""

    time_s: float
    device: str
    sm_clock_hz: float | None = None
    temperature_c: float | None = None
    throttle: frozenset[Throttle] = frozenset()


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What is known of a device: powers in watts. `context_idle_w` is idle with a context, `idle_w` without.

    `scope` says what the power covers: gpu, module (a superchip's CPU too), or empty when not stated.
    """

    name: str = ""
    tdp_w: float | None = None
    limit_w: float | None = None
    default_limit_w: float | None = None
    idle_w: float | None = None
    context_idle_w: float | None = None
    slowdown_c: float | None = None
    scope: str = ""
    is_mig: bool = False

    @property
    def cap_w(self) -> float | None:
        """The limit in force, else the design power."""
        return self.limit_w if self.limit_w is not None else self.tdp_w


@dataclass(frozen=True, slots=True)
class Activity:
    """What the engine did. `start_s`, `end_s` are the window; None is not known.

    `working` are the devices the engine computes on. `clock_pairs` are (monotonic, wall) seconds read together.
    """

    start_s: float
    end_s: float
    busy_share: float | None = 1.0
    ready_s: float | None = None
    warm_s: float | None = None
    first_request_s: float | None = None
    last_end_s: float | None = None
    working: tuple[str, ...] | None = None
    offered: int | None = None
    completed: int | None = None
    client_tokens: int | None = None
    server_tokens: int | None = None
    offered_per_s: float | None = None
    sent_per_s: float | None = None
    client_core_share: float | None = None
    clock_pairs: tuple[tuple[float, float], ...] = ()
    joined_by_wall_time: bool = False

    @property
    def length_s(self) -> float:
        """Length of the window, seconds."""
        return self.end_s - self.start_s

    @property
    def is_busy(self) -> bool:
        """Whether the engine worked through at least half of the window."""
        return self.busy_share is not None and self.busy_share >= 0.5


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything a check may look at."""

    series: tuple[Series, ...]
    activity: Activity
    facts: Mapping[str, CardFacts] = field(default_factory=dict)
    health: tuple[Health, ...] = ()
    source: str = ""

    def fact(self, device: str) -> CardFacts:
        """Return the facts of a device; nothing known when there are none."""
        return self.facts.get(device, CardFacts())

    def window(self, series: Series) -> Series:
        """Return the part of a series inside the window."""
        return series.within(self.activity.start_s, self.activity.end_s)


def to_series(readings: Sequence[Reading]) -> tuple[Series, ...]:
    """Return one series per device, in order of first sight; a device missing from a reading has NaN there."""
    devices = list(dict.fromkeys(channel.device for reading in readings for channel in reading.channels))
    times_s = np.array([reading.time_s for reading in readings])
    columns = {device: np.full((3, len(readings)), np.nan) for device in devices}
    for i, reading in enumerate(readings):
        for channel in reading.channels:
            for row, value in enumerate((channel.energy_j, channel.power_w, channel.average_power_w)):
                if value is not None:
                    columns[channel.device][row, i] = value
    return tuple(Series(device, times_s, *columns[device]) for device in devices)
