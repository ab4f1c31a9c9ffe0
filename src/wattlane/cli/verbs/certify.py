"""`wattlane certify`: check a plan by arithmetic, without the solver."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wattlane.cli.console import emit_json


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""
    app.command(name="certify")(certify)


def certify(
    plan: Annotated[Path, typer.Argument(help="The JSON file of a plan.")],
    workload: Annotated[Path | None, typer.Option(help="Also check that the plan was made for this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check feasibility, integrality and bound of a plan by arithmetic alone; exit code 1 where a check fails.

    Example: wattlane certify plan.json
    """
    from wattlane.plan.kinds import module_of

    found = module_of(plan, "certify").certify(plan, workload)
    if as_json:
        emit_json(found.as_dict())
    else:
        typer.echo("\n".join(found.lines()))
    if not found.holds:
        raise typer.Exit(1)
