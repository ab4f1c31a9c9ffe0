"""`wattlane workload`: requests in, out, described and binned; one file a sub-command."""

from __future__ import annotations

import importlib

import typer

# Each module defines `register(app)`; its own imports stay inside its function, so that --help is quick.
COMMANDS = ("bin", "convert", "describe", "download", "from_metrics", "generate")


def register(app: typer.Typer) -> None:
    """Add the group and its sub-commands to the application."""
    group = typer.Typer(
        help="Traces and workloads: describe, bin, convert, generate, from metrics, download.", no_args_is_help=True
    )
    for command in COMMANDS:
        importlib.import_module(f"{__name__}.{command}").register(group)
    app.add_typer(group, name="workload")
