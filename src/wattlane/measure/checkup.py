"""The two examinations of `wattlane doctor`: sensors here and now, and a record after the fact.

Whether there is a sensor at all is asked first, before anything heavy is loaded: without one the answer comes at once.
"""

from __future__ import annotations

import time
from pathlib import Path

from wattlane.core.errors import MeasurementError
from wattlane.measure.meters import nvml, rapl
from wattlane.measure.readings import Finding, Meter


def check_sensors(seconds: float, simulated_seed: int | None = None) -> list[Finding]:
    """Self-test every sensor of this machine, or a simulated card drawn from a seed.

    Raises:
        InputError: `seconds` is too short.
        MeasurementError: there is no sensor to test.
    """
    meters = machine_meters() if simulated_seed is None else []
    from wattlane.measure.meters import loads
    from wattlane.measure.meters.card import CardPriors, SimulatedCard
    from wattlane.measure.meters.nvml_facts import facts
    from wattlane.measure.selftest import self_test

    if simulated_seed is not None:
        load = loads.square_wave(110.0, 420.0, 2.9, seconds + 10.0)
        card = SimulatedCard(load, CardPriors().draw(simulated_seed), time.monotonic, f"card {simulated_seed}")
        tests = self_test(card, seconds)
    else:
        tests = []
        for meter in meters:
            known = {}
            if isinstance(meter, nvml.NvmlMeter):
                known = {uuid: facts(meter.library, uuid) for uuid in meter.uuids}
            tests += self_test(meter, seconds, facts=known)
    return [finding for test in tests for finding in test.findings()]


def machine_meters() -> list[Meter]:
    """Return every meter that can be read on this machine.

    Raises:
        MeasurementError: there is none; the message says why of each.
    """
    found: list[Meter] = []
    problems = []
    try:
        library = nvml.connect()
        found.append(nvml.NvmlMeter([card.uuid for card in nvml.cards(library)], library))
    except MeasurementError as error:
        problems.append(str(error))
    try:
        found.append(rapl.RaplMeter())
    except MeasurementError as error:
        problems.append(str(error))
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
