"""Which devices are in the figure: the working ones, all of them, each once, and nothing but them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from wattlane.measure.validity.codes import Code, Level, Reason
from wattlane.measure.validity.estimates import counter_mean_w, mean_w, power_mean_w
from wattlane.measure.validity.levels import AT_IDLE
from wattlane.measure.validity.scene import Scene, Series

SUPERCHIPS = ("GH200", "GB200", "GB300")
OFFSET = 0.1


def check_devices(scene: Scene) -> Iterator[Reason]:
    """Compare metered and working devices by name; without names, look for idle ones beside busy ones."""
    metered = {series.device for series in scene.series}
    working = scene.activity.working
    if working is None:
        yield from _idle_beside_busy(scene)
        return
    used = set(working)
    if not metered & used:
        yield Reason(Code.WRONG_DEVICE, f"metered {_names(metered)}; the engine works on {_names(used)}")
        return
    if used - metered:
        yield Reason(Code.GPU_MISSING, f"the engine also works on {_names(used - metered)}, which is not metered")
    if metered - used:
        yield Reason(Code.IDLE_GPUS_SUMMED, f"{_names(metered - used)} metered too; the engine does not work there")


def check_mig(scene: Scene) -> Iterator[Reason]:
    """Find instances that repeat their board: flagged as MIG, or rows equal in every reading."""
    split = [s.device for s in scene.series if scene.fact(s.device).is_mig or s.device.startswith("MIG-")]
    if split:
        yield Reason(Code.MIG_REPEATS, f"{_names(split)} is split with MIG")
        return
    same = sorted({name for a, b in combinations(scene.series, 2) if _equal(a, b) for name in (a.device, b.device)})
    if same:
        yield Reason(Code.MIG_REPEATS, f"{_names(same)} say the same in every reading")


def check_module(scene: Scene) -> Iterator[Reason]:
    """Find power of a whole module: stated, or a superchip whose power lies a constant above its counter."""
    activity = scene.activity
    for series in scene.series:
        facts = scene.fact(series.device)
        if facts.scope == "module":
            yield Reason(Code.MODULE_SCOPE, f"the power of {series.device} is stated as the module's")
        elif not facts.scope and any(chip in facts.name for chip in SUPERCHIPS):
            by_counter = counter_mean_w(series, activity.start_s, activity.end_s)
            by_power = power_mean_w(series, activity.start_s, activity.end_s)
            if by_counter and by_power and by_power > (1 + OFFSET) * by_counter:
                yield Reason(
                    Code.MODULE_SCOPE,
                    f"{facts.name}: power is {by_power - by_counter:.0f} W above the counter of {series.device}",
                )
            else:
                yield Reason(Code.MODULE_SCOPE, f"{facts.name}: the scope of its power is not stated", Level.WARNED)


def _idle_beside_busy(scene: Scene) -> Iterator[Reason]:
    activity = scene.activity
    if len(scene.series) < 2 or not activity.is_busy:
        return
    levels = {
        series.device: (mean_w(series, activity.start_s, activity.end_s), scene.fact(series.device).context_idle_w)
        for series in scene.series
    }
    idle = {name for name, (power_w, idle_w) in levels.items() if power_w and idle_w and power_w <= AT_IDLE * idle_w}
    if idle and len(idle) < len(levels):
        yield Reason(Code.IDLE_GPUS_SUMMED, f"{_names(idle)} drew idle power while others worked")


def _equal(one: Series, other: Series) -> bool:
    if len(one.time_s) != len(other.time_s):
        return False
    for a, b in ((one.power_w, other.power_w), (one.counter_j, other.counter_j)):
        good = np.isfinite(a) & np.isfinite(b)
        if good.sum() >= 10 and len(np.unique(a[good])) > 3 and np.array_equal(a[good], b[good]):
            return True
    return False


def _names(devices: object) -> str:
    return ", ".join(sorted(str(name) for name in devices)) or "nothing"  # type: ignore[attr-defined]
