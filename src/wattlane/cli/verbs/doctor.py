"""`wattlane doctor`: what can be measured on this machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from wattlane.cli.console import emit_json

MARKS = {"ok": "ok     ", "limited": "limited", "absent": "absent "}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(help=doctor.__doc__)(doctor)


def doctor(
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say which energy sensors and engines are here, what can be measured, and what to do about the rest.

    Example: wattlane doctor --json
    """
    from wattlane.measure import diagnose

    findings = diagnose()
    if json_output:
        emit_json({"findings": [asdict(finding) for finding in findings]})
        return
    for finding in findings:
        advice = f" -> {finding.advice}" if finding.advice else ""
        typer.echo(f"{MARKS[finding.status]}  {finding.kind}: {finding.name}: {finding.detail}{advice}")
