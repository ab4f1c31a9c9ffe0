"""Choose the best energy source for an engine, or say why there is none.

The sensors of the machine must see the device that works: a server on another host, an idle GPU beside the busy one,
or a GPU beside an engine that runs on the CPU would give a figure of the wrong thing.

    NVIDIA GPUs that compute (NVML)  ─►  the only AMD GPU  ─►  Apple or Jetson chip  ─►  CPU package (RAPL)
    a server elsewhere: only what it meters itself (TensorRT-LLM)
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wattlane.core.errors import InputError, MeasurementError
from wattlane.measure.engines.base import Habits
from wattlane.measure.meters.cpu import process_tree
from wattlane.measure.meters.nvml import NvmlMeter, cards, connect
from wattlane.measure.meters.rapl import RaplMeter
from wattlane.measure.meters.trtllm import TrtllmMeter
from wattlane.measure.readings import Meter
from wattlane.measure.sources import open_for_engine

MakeMeter = Callable[[], Meter]


@dataclass(frozen=True, slots=True)
class Picked:
    """The chosen meter, or None with the reason."""

    meter: Meter | None
    reason: str


def given_meter(meter: Meter | str | None) -> Picked | None:
    """Return the meter that was given, opened where it is named by a text of `wattlane.measure.sources`; None if none.

    Raises:
        WattlaneError: the name is wrong, or the source does not answer.
    """
    if meter is None:
        return None
    if isinstance(meter, str):
        return Picked(open_for_engine(meter), f"the source that was named, {meter}")
    return Picked(meter, "the meter that was given")


def pick_meter(
    habits: Habits,
    nvml: Any = None,
    make_rapl: MakeMeter = RaplMeter,
    server_url: str | None = None,
    *,
    started: bool = True,
    pid: int | None = None,
) -> Picked:
    """Return the meter for an engine of these habits; `server_url` is that of a server that may meter itself.

    Before it has `started` no card is known to be its own: the meter then reads every one it might use. Its process
    `pid`, where it is ours, tells its cards from those that others compute on.
    """
    if not habits.is_local:
        own = _server(server_url)
        unseen = "the server is on another host; the sensors of this machine do not see it"
        return own if own.meter else Picked(None, f"{unseen}{own.reason}")
    if habits.runs_on_gpu is False:
        return _rapl(make_rapl)
    try:
        library = connect(nvml)
    except MeasurementError as error:
        return _without_nvml(str(error), make_rapl, started)
    return _busy_gpus(library, pid) if started else _all_gpus(library)


def _all_gpus(library: Any) -> Picked:
    uuids = [card.uuid for card in cards(library)]
    return Picked(NvmlMeter(uuids, library) if uuids else None, "the driver lists no GPU" if not uuids else "every GPU")


def _busy_gpus(library: Any, pid: int | None) -> Picked:
    busy = [card for card in cards(library) if card.busy_pids]
    mine = set() if pid is None else process_tree(pid)
    own = [card for card in busy if mine & set(card.busy_pids)]  # none in a container that hides process ids
    which = "the GPU that the engine computes on" if len(own) == 1 else "the GPUs that the engine computes on"
    busy, which = (own, which) if own else (busy, "every GPU with a compute process")
    if not busy:
        return Picked(
            None,
            "no GPU here has a compute process, so none can be said to serve; name the GPU with a meter of its own",
        )
    if any(card.is_mig for card in busy):
        return Picked(None, "the busy GPU is split with MIG: its power is the whole board's, not the engine's")
    names = ", ".join(f"{card.name} {card.uuid}" for card in busy)
    return Picked(NvmlMeter([card.uuid for card in busy], library), f"{which}: {names}")


def _without_nvml(reason: str, make_rapl: MakeMeter, started: bool) -> Picked:
    reasons = [reason]
    attempts: tuple[Callable[[], Picked], ...] = (lambda: _amd(only_one=started), _soc, lambda: _rapl(make_rapl))
    for attempt in attempts:
        picked = attempt()
        if picked.meter is not None:
            return picked
        reasons.append(picked.reason)
    return Picked(None, "; ".join(filter(None, reasons)))


def _amd(*, only_one: bool) -> Picked:
    if importlib.util.find_spec("zeus") is None:
        return Picked(None, "")
    from wattlane.measure.meters.zeus_amd import AmdMeter

    try:
        meter = AmdMeter()
    except (MeasurementError, InputError, ImportError) as error:
        return Picked(None, str(error))
    if len(meter.uuids) > 1 and only_one:
        named = "+".join(meter.uuids)
        return Picked(None, f"zeus lists several AMD GPUs and cannot say which works; name it, of amd={named}")
    return Picked(meter, f"the only AMD GPU here: {meter.uuids[0]}")


def _soc() -> Picked:
    if importlib.util.find_spec("zeus") is None:
        return Picked(None, "")
    from wattlane.measure.meters.zeus_soc import SocMeter

    try:
        return Picked(SocMeter(), "the whole chip, CPU, GPU and memory, other processes included")
    except (MeasurementError, InputError, ImportError) as error:
        return Picked(None, str(error))


def _rapl(make_rapl: MakeMeter) -> Picked:
    try:
        return Picked(make_rapl(), "CPU package and DRAM of the whole machine, other processes included")
    except MeasurementError as error:
        return Picked(None, str(error))


def _server(url: str | None) -> Picked:
    if url is None:
        return Picked(None, "")
    try:
        return Picked(TrtllmMeter(url), "the counter that TensorRT-LLM keeps of its own GPUs")
    except MeasurementError as error:
        return Picked(None, f", and it does not say what it draws ({error})")
