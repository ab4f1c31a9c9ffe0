"""`wattlane explain`: what binds in a plan, what it is worth, what is a tie."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wattlane.cli.console import emit_json


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""
    app.command(name="explain")(explain)


def explain(
    plan: Annotated[Path, typer.Argument(help="The JSON file of a plan.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what binds in a plan, what each limit is worth, and which results are ties within the laws' uncertainty.

    Example: wattlane explain plan.json
    """
    from wattlane.plan.kinds import module_of

    found = module_of(plan, "explain").explain(plan)
    if as_json:
        emit_json(found.as_dict())
    else:
        typer.echo("\n".join(found.lines()))
