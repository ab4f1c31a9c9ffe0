"""The two examinations of `wattlane doctor`: sensors here and now, and a record after the fact.

Whether there is a sensor at all is asked first, before anything heavy is loaded: without one the answer comes at once.
"""

from __future__ import annotations

import importlib.util
import time
from contextlib import suppress
from pathlib import Path

from wattlane.core.errors import MeasurementError
from wattlane.measure.meters import nvml
from wattlane.measure.readings import Finding, Meter
from wattlane.measure.sources import facts_of, open_source


def check_sensors(seconds: float, simulated_seed: int | None = None, source: str | None = None) -> list[Finding]:
    """Self-test every sensor of this machine, the named source, or a simulated card drawn from a seed.

    The last line names the best of them.

    Raises:
        InputError: `seconds` is too short, or the source's name is wrong.
        MeasurementError: there is no sensor to test, or the source does not answer.
    """
    if simulated_seed is None:
        meters = machine_meters() if source is None else [open_source(source)]
    from wattlane.measure.meters import loads
    from wattlane.measure.meters.card import CardPriors, SimulatedCard
    from wattlane.measure.selftest import best_source, self_test

    if simulated_seed is not None:
        load = loads.square_wave(110.0, 420.0, 2.9, seconds + 10.0)
        card = SimulatedCard(load, CardPriors().draw(simulated_seed), time.monotonic, f"card {simulated_seed}")
        meters = [card]
    tests = []
    for meter in meters:
        known = {channel.device: facts_of(meter, channel.device) for channel in meter.read().channels}
        tests += self_test(meter, seconds, facts=known)
    return [*(finding for test in tests for finding in test.findings()), best_source(tests)]


def machine_meters() -> list[Meter]:
    """Return every meter that can be read on this machine; an exporter on it only where NVML is out of reach.

    Raises:
        MeasurementError: there is none; the message says why of each.
    """
    found: list[Meter] = []
    problems = []
    wanted = ["nvml", "rapl"]
    if importlib.util.find_spec("zeus") is not None:
        wanted += ["amd", "soc"]
    for name in wanted:
        try:
            found.append(open_source(name))
        except (MeasurementError, ImportError) as error:
            problems.append(str(error))
    if not any(isinstance(meter, nvml.NvmlMeter) for meter in found):
        with suppress(MeasurementError):
            found.append(open_source("dcgm"))
    if not found:
        raise MeasurementError(f"no energy sensor to test on this machine: {'; '.join(problems)}")
    return found


def check_telemetry(path: Path | str, *, limit_w: float | None = None, idle_w: float | None = None) -> list[Finding]:
    """Run every check over a recorded run; `limit_w` and `idle_w` (with a context) are per device, watts.

    Raises:
        InputError: there is no such file.
        FileFormatError: it is not telemetry.
    """
    from wattlane.measure.scenes import telemetry_scene
    from wattlane.measure.validity.codes import RULES, Level
    from wattlane.measure.validity.judge import examine
    from wattlane.measure.validity.scene import CardFacts

    marks = {Level.NOTE: "ok", Level.WARNED: "limited", Level.QUARANTINED: "fault"}
    scene = telemetry_scene(Path(path), CardFacts(limit_w=limit_w, context_idle_w=idle_w))
    devices = ", ".join(series.device for series in scene.series)
    verdict, length_s = examine(scene), scene.activity.length_s
    status = "fault" if verdict.quarantined else ("limited" if verdict.status == Level.WARNED.value else "ok")
    lines = [Finding("record", f"{scene.source} {devices}", status, f"{length_s:.1f} s window: {verdict.status}")]
    for reason in verdict.reasons:
        detail = f"{reason.code.value}: {reason.detail}; expected {RULES[reason.code].expected}"
        lines.append(Finding("record", scene.source, marks[reason.level], detail, RULES[reason.code].remedy))
    return lines
