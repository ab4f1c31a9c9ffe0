"""`wattlane doctor`: what can be measured on this machine, and whether a sensor or a record can be trusted."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from wattlane.cli.console import emit_json
from wattlane.core.errors import MeasurementError

MARKS = {"ok": "ok     ", "limited": "limited", "absent": "absent ", "fault": "fault  "}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(help=doctor.__doc__)(doctor)


def doctor(
    self_test: Annotated[float | None, typer.Option(help="Watch every sensor for this many seconds.")] = None,
    simulated: Annotated[int | None, typer.Option(help="Self-test a simulated card of this seed instead.")] = None,
    meter: Annotated[
        str | None, typer.Option(help="Self-test this source, as dcgm=http://HOST:9400/metrics, trtllm=URL or amd.")
    ] = None,
    telemetry: Annotated[Path | None, typer.Option(help="Check a recorded telemetry.parquet instead.")] = None,
    limit_watts: Annotated[float | None, typer.Option(help="Power limit of each device in the record.")] = None,
    idle_watts: Annotated[
        float | None, typer.Option(help="Idle power, with a context, of each device in the record.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say which energy sensors and engines are here, what can be measured, and what to do about the rest.

    With --self-test, watch the sensors: their true periods, averaging, and whether counter and power agree; each fault
    is named. With --telemetry, check a finished run. Exit code 4 when a fault is found or no sensor can be tested.

    Example: wattlane doctor --self-test 5
    """
    from wattlane.measure import check_sensors, check_telemetry, diagnose

    if telemetry is not None:
        findings = check_telemetry(telemetry, limit_w=limit_watts, idle_w=idle_watts)
    elif any(asked is not None for asked in (self_test, simulated, meter)):
        findings = check_sensors(5.0 if self_test is None else self_test, simulated, meter)
    else:
        findings = diagnose()
    if json_output:
        emit_json({"findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            advice = f" -> {finding.advice}" if finding.advice else ""
            typer.echo(f"{MARKS[finding.status]}  {finding.kind}: {finding.name}: {finding.detail}{advice}")
    faults = [finding for finding in findings if finding.status == "fault"]
    if faults:
        named = faults[min(1, len(faults) - 1)]  # the first line is the summary of the device
        raise MeasurementError(f"{named.name}: {named.detail}; its figures must not be used")
