"""A whole chip through zeus (`zeus.device.soc`): Apple silicon, NVIDIA Jetson. CPU, GPU and memory in one figure.

    Apple:   energy_j of cpu, gpu, gpu sram, dram, ane = ..._mj / 1e3     counters of the chip; boundary GPU and host
    Jetson:  energy_j of the board's input = total_energy_mj / 1e3, or of cpu and gpu where there is no total
             power_w of the same rails     = measure_power() / 1e3            (mW)

Parts that do not overlap are summed: Apple's cores and clusters are inside `cpu`, a Jetson's rails inside its total.
zeus integrates a Jetson's power itself, ten times a second from a process of its own; the rail's power is read beside
it, so that the two can be compared. What the chip does not meter is absent.
Source: zeus 0.16.0, device/soc/apple.py and jetson.py; the API is the same since 0.13.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping
from typing import Any

from wattlane.core.errors import MeasurementError
from wattlane.core.extras import require
from wattlane.core.types import Boundary
from wattlane.measure.readings import Channel, Finding, Reading

SOURCE = "soc"
MODULE = "zeus.device.soc"
MJ_PER_J = 1e3
MW_PER_W = 1e3
# part -> field of zeus' measurement; the whole stands for its parts where it is there
APPLE = {"cpu": "cpu_total_mj", "gpu": "gpu_mj", "gpu sram": "gpu_sram_mj", "dram": "dram_mj", "ane": "ane_mj"}
JETSON_WHOLE = {"board": "total_energy_mj"}
JETSON_PARTS = {"cpu": "cpu_energy_mj", "gpu": "gpu_energy_mj"}
JETSON_RAIL = {"board": "total_power_mw", "cpu": "cpu_power_mw", "gpu": "gpu_power_mw"}


def open_soc() -> Any:
    """Return zeus' chip.

    Raises:
        MissingExtraError: zeus is not installed.
        MeasurementError: this machine is neither, or its library is missing.
    """
    library = require(MODULE)
    try:
        return library.get_soc()
    except Exception as error:
        raise MeasurementError(
            f"zeus finds no Apple silicon or Jetson here ({error}); on a Mac, pip install 'zeus[apple]' too"
        ) from error


class SocMeter:
    """Reads the chip; `soc` is zeus' object, opened when not given.

    Raises:
        MissingExtraError: zeus is not installed.
        MeasurementError: there is no such chip, or it meters nothing.
    """

    def __init__(self, soc: Any = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._soc = open_soc() if soc is None else soc
        self._clock = clock
        first = self._soc.get_total_energy_consumption()
        self._fields = _fields(first)
        self._rails: Mapping[str, Any] = getattr(self._soc, "power_measurement", {})
        if not self._fields:
            raise MeasurementError(f"zeus' {type(first).__name__} holds no energy of a part that is known: {first}")
        self._boundary = Boundary.WALL if "board" in self._fields else Boundary.GPU_AND_HOST

    def read(self) -> Reading:
        """Return the counters of the parts and, on a Jetson, the powers of their rails."""
        try:
            said = self._soc.get_total_energy_consumption()
        except Exception:  # noqa: BLE001 a queue that times out, a library that fails: no value, not zero
            said = None
        channels = tuple(
            Channel(part, _scaled(getattr(said, field, None), MJ_PER_J), self._power_w(part))
            for part, field in self._fields.items()
        )
        return Reading(self._clock(), SOURCE, self._boundary, channels)

    def _power_w(self, part: str) -> float | None:
        rail = self._rails.get(JETSON_RAIL.get(part, ""))
        if rail is None:
            return None
        try:
            return _scaled(rail.measure_power(), MW_PER_W)
        except (OSError, ValueError):
            return None


def find() -> list[Finding]:
    """Return what `doctor` says about such a chip here."""
    if importlib.util.find_spec("zeus") is None:
        advice = "for Apple silicon and Jetson: pip install 'wattlane[zeus]'"
        return [Finding("sensor", SOURCE, "absent", "zeus is not installed", advice)]
    try:
        reading = SocMeter().read()
    except (MeasurementError, ImportError) as error:
        return [Finding("sensor", SOURCE, "absent", str(error))]
    parts = ", ".join(channel.device for channel in reading.channels)
    return [Finding("sensor", SOURCE, "ok", f"energy of {parts}; boundary {reading.boundary.value}")]


def _fields(said: Any) -> dict[str, str]:
    """Return the parts that this chip meters, none of them inside another."""
    for known in (APPLE, JETSON_WHOLE, JETSON_PARTS):
        there = {part: field for part, field in known.items() if getattr(said, field, None) is not None}
        if there:
            return there
    return {}


def _scaled(value: Any, per_unit: float) -> float | None:
    return None if value is None else float(value) / per_unit
