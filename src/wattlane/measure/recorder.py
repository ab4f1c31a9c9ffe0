"""Record meter and CPU readings from a thread while something runs.

Everything that was read is kept, repeats and failed reads included: `table` is the raw record, and every energy can
be computed again from it by another method.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from wattlane.measure.meters.cpu import cpu_seconds
from wattlane.measure.readings import Meter, Reading

if TYPE_CHECKING:
    import polars as pl

PERIOD_S = 0.1


@dataclass(frozen=True, slots=True)
class CpuReading:
    """CPU seconds of the engine's processes at one instant; None once they are gone."""

    time_s: float
    cpu_s: float | None


class Recorder:
    """Reads `meter` (if any) and the CPU time of `pid` (if any) every `period_s` inside a `with` block."""

    def __init__(self, meter: Meter | None, pid: int | None, period_s: float = PERIOD_S) -> None:
        self._meter = meter
        self._pid = pid
        self._period_s = period_s
        self.readings: list[Reading] = []
        self.cpu: list[CpuReading] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._loop, name="wattlane-recorder", daemon=True)

    def __enter__(self) -> Self:
        self.mark()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        self.mark()

    def mark(self) -> float:
        """Read everything once, now, and return the time: the edges of a window are marked so."""
        with self._lock:
            if self._meter is not None:
                self.readings.append(self._meter.read())
            now_s = time.monotonic()
            if self._pid is not None:
                self.cpu.append(CpuReading(now_s, cpu_seconds(self._pid)))
            return now_s

    def cpu_used_s(self, start_s: float, end_s: float) -> float | None:
        """Return CPU seconds between the first and the last good reading in the window; None without two of them."""
        inside = [r.cpu_s for r in self.cpu if start_s <= r.time_s <= end_s and r.cpu_s is not None]
        return inside[-1] - inside[0] if len(inside) >= 2 else None

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
            }
            for reading in self.readings
            for channel in reading.channels
        ]
        rows += [
            {"time_s": r.time_s - origin_s, "source": "proc", "device": f"pid {self._pid}", "cpu_s": r.cpu_s}
            for r in self.cpu
        ]
        texts, numbers = ("source", "device", "boundary", "origin"), ("energy_j", "power_w", "average_power_w", "cpu_s")
        schema = {"time_s": pl.Float64, **dict.fromkeys(texts, pl.String), **dict.fromkeys(numbers, pl.Float64)}
        return pl.DataFrame(rows, schema=schema).sort("time_s", maintain_order=True)

    def _loop(self) -> None:
        while not self._stop.wait(self._period_s):
            self.mark()
