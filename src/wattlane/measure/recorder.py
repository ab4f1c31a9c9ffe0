"""Record meter and CPU readings from a thread while something runs.

Everything that was read is kept, repeats and failed reads included: `table` is the raw record, and every energy can
be computed again from it by another method. Polls come 20 times a second and 125 times a second after each mark.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from wattlane.measure.meters.cpu import cpu_seconds
from wattlane.measure.poller import Poller
from wattlane.measure.readings import Meter, Reading, take
from wattlane.measure.schedule import PERIOD_S

if TYPE_CHECKING:
    import polars as pl

CPU_PERIOD_S = 0.04
LINGER_LAGS = 2.5  # a lag until the value is collected, one until it is shown, and a rest
LONGEST_LINGER_S = 90.0


@dataclass(frozen=True, slots=True)
class CpuReading:
    """CPU seconds of the engine's processes at one instant; None once they are gone."""

    time_s: float
    cpu_s: float | None


class Recorder:
    """Reads `meter` (if any) and the CPU time of `pid` (if any) on the schedule inside a `with` block."""

    def __init__(self, meter: Meter | None, pid: int | None, period_s: float = PERIOD_S) -> None:
        self._meter = meter
        self._pid = pid
        self.readings: list[Reading] = []
        self.cpu: list[CpuReading] = []
        self._poller = Poller(self._read, period_s=period_s)

    def __enter__(self) -> Self:
        self._read()
        self._poller.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if not exception[0]:
            time.sleep(self._linger_s())
        self._poller.stop()
        self._read()

    def mark(self) -> float:
        """Stamp the time and ask for dense readings from now on: the edges of a window are marked so."""
        return self._poller.edge()

    def cpu_used_s(self, start_s: float, end_s: float) -> float | None:
        """Return CPU seconds of the window, interpolated at its edges; None without two good readings in or beside it.

        Where the processes were gone before its end, what they had used by their last reading counts.
        """
        good = [(r.time_s, r.cpu_s) for r in self.cpu if r.cpu_s is not None]
        if len(good) < 2 or good[0][0] > end_s or good[-1][0] < start_s:
            return None
        times_s, used_s = np.array(good).T
        at = np.interp([start_s, end_s], times_s, used_s)
        return float(at[1] - at[0])

    def table(self, origin_s: float) -> pl.DataFrame:
        """Return the raw record, one row a channel and reading, `time_s` since `origin_s`."""
        import polars as pl

        rows: list[dict[str, Any]] = [
            {
                "time_s": reading.time_s - origin_s,
                "source": reading.source,
                "device": channel.device,
                "boundary": reading.boundary.value,
                "origin": reading.origin.value,
                "energy_j": channel.energy_j,
                "power_w": channel.power_w,
                "average_power_w": channel.average_power_w,
                "lag_s": reading.lag_s,
            }
            for reading in self.readings
            for channel in reading.channels
        ]
        rows += [
            {"time_s": r.time_s - origin_s, "source": "proc", "device": f"pid {self._pid}", "cpu_s": r.cpu_s}
            for r in self.cpu
        ]
        texts = ("source", "device", "boundary", "origin")
        numbers = ("energy_j", "power_w", "average_power_w", "lag_s", "cpu_s")
        schema = {"time_s": pl.Float64, **dict.fromkeys(texts, pl.String), **dict.fromkeys(numbers, pl.Float64)}
        return pl.DataFrame(rows, schema=schema).sort("time_s", maintain_order=True)

    @property
    def lag_s(self) -> float:
        """How much older than its last reading the source's values may be, seconds."""
        return self.readings[-1].lag_s if self.readings else 0.0

    def _linger_s(self) -> float:
        """Return how long a source that lags must still be read until it has shown what was there at the last edge."""
        return min(LINGER_LAGS * self.lag_s, LONGEST_LINGER_S)

    def _read(self) -> None:
        if self._meter is not None:
            take(self._meter, self.readings)
        now_s = time.monotonic()
        # Walking the processes costs more than it tells at the dense rate.
        if self._pid is not None and not (self.cpu and now_s - self.cpu[-1].time_s < CPU_PERIOD_S):
            self.cpu.append(CpuReading(now_s, cpu_seconds(self._pid)))
