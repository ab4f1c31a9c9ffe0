"""Choose the best energy source for an engine, or say why there is none.

The sensors of the machine must see the device that works: a server on another host, an idle GPU beside the busy one,
or a GPU beside an engine that runs on the CPU would give a figure of the wrong thing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wattlane.core.errors import MeasurementError
from wattlane.measure.engines.base import Habits
from wattlane.measure.meters.nvml import NvmlMeter, cards, connect
from wattlane.measure.meters.rapl import RaplMeter
from wattlane.measure.readings import Meter


@dataclass(frozen=True, slots=True)
class Picked:
    """The chosen meter, or None with the reason."""

    meter: Meter | None
    reason: str


def pick_meter(habits: Habits, nvml: Any = None, make_rapl: Callable[[], Meter] = RaplMeter) -> Picked:
    """Return the meter for an engine of these habits: busy GPUs through NVML, else the CPU package through RAPL."""
    if not habits.is_local:
        return Picked(None, "the server is on another host; the sensors of this machine do not see it")
    if habits.runs_on_gpu is False:
        return _rapl(make_rapl)
    try:
        library = connect(nvml)
    except MeasurementError as error:
        picked = _rapl(make_rapl)
        return picked if picked.meter else Picked(None, f"{error}; {picked.reason}")
    return _busy_gpus(library)


def _busy_gpus(library: Any) -> Picked:
    busy = [card for card in cards(library) if card.busy_pids]
    if not busy:
        return Picked(
            None,
            "no GPU here has a compute process, so none can be said to serve; name the GPU with a meter of its own",
        )
    if any(card.is_mig for card in busy):
        return Picked(None, "the busy GPU is split with MIG: its power is the whole board's, not the engine's")
    names = ", ".join(f"{card.name} {card.uuid}" for card in busy)
    return Picked(NvmlMeter([card.uuid for card in busy], library), f"every GPU with a compute process: {names}")


def _rapl(make_rapl: Callable[[], Meter]) -> Picked:
    try:
        return Picked(make_rapl(), "CPU package and DRAM of the whole machine, other processes included")
    except MeasurementError as error:
        return Picked(None, str(error))
