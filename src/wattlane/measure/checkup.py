"""The two examinations of `wattlane doctor`: sensors here and now, and a record after the fact."""

from __future__ import annotations

import time
from pathlib import Path

from wattlane.measure.meters import loads
from wattlane.measure.meters.card import CardPriors, SimulatedCard
from wattlane.measure.readings import Finding
from wattlane.measure.scenes import telemetry_scene
from wattlane.measure.selftest import machine_meters, self_test
from wattlane.measure.validity.codes import RULES, Level
from wattlane.measure.validity.judge import examine
from wattlane.measure.validity.scene import CardFacts

MARKS = {Level.NOTE: "ok", Level.WARNED: "limited", Level.QUARANTINED: "fault"}


def check_sensors(seconds: float, simulated_seed: int | None = None) -> list[Finding]:
    """Self-test every sensor of this machine, or a simulated card drawn from a seed.

    Raises:
        InputError: `seconds` is too short.
        MeasurementError: there is no sensor to test.
    """
    if simulated_seed is not None:
        load = loads.square_wave(110.0, 420.0, 2.9, seconds + 10.0)
        card = SimulatedCard(load, CardPriors().draw(simulated_seed), time.monotonic, f"card {simulated_seed}")
        tests = self_test(card, seconds)
    else:
        tests = [test for meter, facts in machine_meters() for test in self_test(meter, seconds, facts=facts)]
    return [finding for test in tests for finding in test.findings()]


def check_telemetry(path: Path | str, *, limit_w: float | None = None, idle_w: float | None = None) -> list[Finding]:
    """Run every check over a recorded run; `limit_w` and `idle_w` (with a context) are per device, watts.

    Raises:
        InputError: there is no such file.
        FileFormatError: it is not telemetry.
    """
    scene = telemetry_scene(Path(path), CardFacts(limit_w=limit_w, context_idle_w=idle_w))
    devices = ", ".join(series.device for series in scene.series)
    verdict, length_s = examine(scene), scene.activity.length_s
    status = "fault" if verdict.quarantined else ("limited" if verdict.status == Level.WARNED.value else "ok")
    lines = [Finding("record", f"{scene.source} {devices}", status, f"{length_s:.1f} s window: {verdict.status}")]
    for reason in verdict.reasons:
        detail = f"{reason.code.value}: {reason.detail}; expected {RULES[reason.code].expected}"
        lines.append(Finding("record", scene.source, MARKS[reason.level], detail, RULES[reason.code].remedy))
    return lines
