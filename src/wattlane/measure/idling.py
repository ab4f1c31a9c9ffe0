"""Idle power at three levels around one engine: before it starts, with an empty context, with its weights loaded.

    [ no context ]  ─►  [ context ]  ─►  engine up, warm-up  ─►  [ weights loaded ]  ─►  workload
      nothing of ours    an empty CUDA      ...                    the idle window of the trial
                         context of ours

Each level is measured with its interval or absent with its reason. Before the engine starts every card here is watched,
because it is not known yet which it will use; its own are picked out afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wattlane.core.errors import MeasurementError
from wattlane.core.types import Origin
from wattlane.measure.account import ABSENT, Energy, metered
from wattlane.measure.energy.budget import scaled
from wattlane.measure.energy.idle import IdleLevel
from wattlane.measure.energy.window import SWING_S
from wattlane.measure.engines.cuda_context import held_context
from wattlane.measure.meters.nvml import NvmlMeter, cards
from wattlane.measure.pick import Picked
from wattlane.measure.readings import Meter, Reading
from wattlane.measure.recorder import Recorder

REFRESHES = 5  # of a source that lags, in an idle window
LONGEST_S = 60.0
LOOK_S = 0.5

Edges = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Idle:
    """Energy of an idle window of `length_s` at a level; absent with its `reason`."""

    level: IdleLevel
    energy: Energy = ABSENT
    length_s: float = 0.0
    reason: str = ""

    @property
    def power_w(self) -> float | None:
        """Mean power of the metered devices, watts; None if absent."""
        return None if self.energy.energy_j is None else self.energy.energy_j / self.length_s

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        power = None if self.energy.budget is None else scaled(self.energy.budget, 1 / self.length_s)
        return {
            "power_w": self.power_w,
            "power_w_lo": None if power is None else power.lo,
            "power_w_hi": None if power is None else power.hi,
            "length_s": self.length_s,
            "source": self.energy.source,
            "status": self.energy.status.value,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Watched:
    """Readings of an idle window and its edges; `devices` are those that were at that level, None for all."""

    readings: tuple[Reading, ...]
    edges_s: Edges
    devices: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Before:
    """The levels before the engine started: what was watched, or why it was not."""

    watched: dict[IdleLevel, Watched] = field(default_factory=dict)
    reasons: dict[IdleLevel, str] = field(default_factory=dict)


NOTHING_BEFORE = Before()


def running_already() -> Before:
    """Return what is known before an engine that somebody else started: nothing."""
    why = "the server ran before the measurement, with its context and its weights"
    return Before(reasons={IdleLevel.NO_CONTEXT: why, IdleLevel.CONTEXT: why})


def idle_window(recorder: Recorder, shortest_s: float) -> Edges | None:
    """Wait until a window holds several refreshes of the source and return its edges; None if that takes too long.

    Nothing works for a moment before and after it, so that what is seen beside its edges is idle too.
    """
    rest_s = min(SWING_S, shortest_s / 4)
    time.sleep(rest_s)
    start_s = recorder.mark()
    while True:
        needed_s = max(shortest_s, REFRESHES * recorder.lag_s)
        if needed_s > LONGEST_S:
            return None
        left_s = start_s + needed_s - time.monotonic()
        if left_s <= 0:
            end_s = recorder.mark()
            time.sleep(rest_s)
            return start_s, end_s
        time.sleep(min(left_s, LOOK_S))


def watch_before(picked: Picked, shortest_s: float, *, runs_on_gpu: bool | None, library: str | None = None) -> Before:
    """Watch the machine before an engine starts: with nothing of ours, then with an empty context.

    `picked` is a meter of every device that the engine might use. `library` is the CUDA driver library to use.
    """
    if picked.meter is None:
        return Before(reasons=dict.fromkeys((IdleLevel.NO_CONTEXT, IdleLevel.CONTEXT), picked.reason))
    watched, reasons = {}, {}
    free = _free(picked.meter)
    first = _watch(picked.meter, shortest_s, free)
    if isinstance(first, str):
        return Before(reasons=dict.fromkeys((IdleLevel.NO_CONTEXT, IdleLevel.CONTEXT), first))
    watched[IdleLevel.NO_CONTEXT] = first
    if runs_on_gpu is False:
        reasons[IdleLevel.CONTEXT] = "the engine runs on the CPU and makes no context"
        return Before(watched, reasons)
    try:
        with held_context(*(() if library is None else (library,))) as uuids:
            held = frozenset(uuids)
            second = _watch(picked.meter, shortest_s, held if free is None else held & free)
    except MeasurementError as error:
        second = str(error)
    if isinstance(second, str):
        reasons[IdleLevel.CONTEXT] = second
    else:
        watched[IdleLevel.CONTEXT] = second
    return Before(watched, reasons)


def levels(
    before: Before, readings: Sequence[Reading], meter_reason: str, loaded: Energy, loaded_s: float
) -> tuple[Idle, ...]:
    """Return the three levels for the devices of a run's `readings`; `loaded` is the idle window with the weights."""
    if not readings:
        return tuple(Idle(level, reason=meter_reason) for level in IdleLevel)
    devices = {channel.device for channel in readings[0].channels}
    found = [_level(before, level, devices) for level in (IdleLevel.NO_CONTEXT, IdleLevel.CONTEXT)]
    why = "" if loaded.status is not Origin.ABSENT else "the source renews too slowly, or left gaps in the idle window"
    return (*found, Idle(IdleLevel.WEIGHTS_LOADED, loaded, loaded_s, why))


def _level(before: Before, level: IdleLevel, devices: set[str]) -> Idle:
    watched = before.watched.get(level)
    if watched is None:
        return Idle(level, reason=before.reasons.get(level, "it was not watched"))
    seen = {channel.device for channel in watched.readings[0].channels}
    if not devices <= seen:
        return Idle(level, reason=f"{', '.join(sorted(devices - seen))} was not watched before the engine started")
    other = set() if watched.devices is None else devices - watched.devices
    if other:
        return Idle(level, reason=f"{', '.join(sorted(other))} was not at that level: another process computed on it")
    energy = metered(_only(watched.readings, devices), *watched.edges_s)
    length_s = watched.edges_s[1] - watched.edges_s[0]
    return Idle(level, energy, length_s, "" if energy.energy_j is not None else "the readings left gaps")


def _only(readings: Sequence[Reading], devices: set[str]) -> list[Reading]:
    return [replace(r, channels=tuple(c for c in r.channels if c.device in devices)) for r in readings]


def _watch(meter: Meter, shortest_s: float, devices: frozenset[str] | None) -> Watched | str:
    with Recorder(meter, None) as recorder:
        edges_s = idle_window(recorder, shortest_s)
        lag_s = recorder.lag_s
    if edges_s is None:
        return f"the source renews every {lag_s:.0f} s or more: an idle level would take above {LONGEST_S:.0f} s"
    return Watched(tuple(recorder.readings), edges_s, devices)


def _free(meter: Meter) -> frozenset[str] | None:
    """Return the cards on which nothing computes yet; None where that cannot be known."""
    if not isinstance(meter, NvmlMeter):
        return None
    return frozenset(card.uuid for card in cards(meter.library) if not card.busy_pids)
