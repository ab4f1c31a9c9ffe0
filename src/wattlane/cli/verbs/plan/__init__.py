"""`wattlane plan`: offline decisions with a certificate; one file a sub-command."""

from __future__ import annotations

import importlib

import typer

# Each module defines `register(app)`; its own imports stay inside its function, so that --help is quick.
COMMANDS = ("assign", "configure", "frontier")


def register(app: typer.Typer) -> None:
    """Add the group and its sub-commands to the application."""
    group = typer.Typer(
        help="Plans with a proof: requests to models, configurations to time bins.", no_args_is_help=True
    )
    for command in COMMANDS:
        importlib.import_module(f"{__name__}.{command}").register(group)
    app.add_typer(group, name="plan")
