"""What a meter says: one `Reading` per call, one `Channel` per device in it. A value that could not be read is None."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from wattlane.core.types import Boundary, Origin


@dataclass(frozen=True, slots=True)
class Channel:
    """One device: `energy_j` counts up from an arbitrary start, `power_w` is instant, `average_power_w` lags."""

    device: str
    energy_j: float | None = None
    power_w: float | None = None
    average_power_w: float | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """All channels of one meter at one instant of the monotonic clock.

    The values may be up to `lag_s` older than that: the refresh of a cache in between, 0 for a sensor read directly.
    """

    time_s: float
    source: str
    boundary: Boundary
    channels: tuple[Channel, ...]
    origin: Origin = Origin.MEASURED
    lag_s: float = 0.0

    @property
    def energy_j(self) -> float | None:
        """Sum of the counters; None if any of them is missing."""
        return _sum([channel.energy_j for channel in self.channels])

    @property
    def power_w(self) -> float | None:
        """Sum of the powers, instant before averaged; None if any device has neither."""
        return _sum([c.power_w if c.power_w is not None else c.average_power_w for c in self.channels])


class Meter(Protocol):
    """Anything that can be read. `read` never raises for a failed sensor: it returns a channel without values.

    A meter that must not be asked too often returns its last reading again until it is due; `take` leaves that out.
    """

    def read(self) -> Reading:
        """Return what the sensors say now."""
        ...


def take(meter: Meter, readings: list[Reading]) -> Reading:
    """Read `meter`, add what it says to `readings` unless it is the last reading handed out again, and return it."""
    reading = meter.read()
    if not readings or reading is not readings[-1]:
        readings.append(reading)
    return reading


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a diagnosis. `status` is ok, limited, absent or fault; `advice` may be empty."""

    kind: str
    name: str
    status: str
    detail: str
    advice: str = ""


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None
