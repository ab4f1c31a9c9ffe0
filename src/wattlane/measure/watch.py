"""Look at clocks, temperature and throttling of cards from a thread while something runs, twice a second."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from wattlane.measure.meters.nvml import NvmlMeter
from wattlane.measure.meters.nvml_facts import looker

if TYPE_CHECKING:
    import polars as pl

    from wattlane.measure.readings import Meter
    from wattlane.measure.validity.scene import Health

PERIOD_S = 0.5


class Watch:
    """Calls `look` every `period_s` inside a `with` block and keeps what it returns; with None it does nothing."""

    def __init__(self, look: Callable[[], list[Health]] | None, period_s: float = PERIOD_S) -> None:
        self._look = look
        self._period_s = period_s
        self.looks: list[Health] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="wattlane-watch", daemon=True)

    @classmethod
    def of(cls, meter: Meter | None) -> Self:
        """Return a watch over the cards of a meter; one that does nothing where the meter has no cards."""
        if not isinstance(meter, NvmlMeter):
            return cls(None)
        return cls(looker(meter.library, meter.uuids))

    def __enter__(self) -> Self:
        if self._look is not None:
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        if self._look is not None:
            self._thread.join()

    def table(self, origin_s: float) -> pl.DataFrame:
        """Return the looks as rows of telemetry, `time_s` since `origin_s`."""
        import polars as pl

        rows: list[dict[str, Any]] = [
            {
                "time_s": look.time_s - origin_s,
                "source": "health",
                "device": look.device,
                "sm_clock_hz": look.sm_clock_hz,
                "temperature_c": look.temperature_c,
                "throttle": ", ".join(sorted(look.throttle)),
            }
            for look in self.looks
        ]
        texts, numbers = ("source", "device", "throttle"), ("time_s", "sm_clock_hz", "temperature_c")
        return pl.DataFrame(rows, schema={**dict.fromkeys(texts, pl.String), **dict.fromkeys(numbers, pl.Float64)})

    def _loop(self) -> None:
        assert self._look is not None
        while True:
            self.looks += self._look()
            if self._stop.wait(self._period_s):
                return


def with_looks(telemetry: pl.DataFrame, looks: pl.DataFrame | None) -> pl.DataFrame:
    """Return a raw record with the looks, if there are any, among its rows, in order of time."""
    import polars as pl

    if looks is None:
        return telemetry
    return pl.concat([telemetry, looks], how="diagonal").sort("time_s", maintain_order=True)
