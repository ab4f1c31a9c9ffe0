"""`wattlane plan configure`: pools, instances, parallelism, batch and clock for each time bin, with a proof."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wattlane.cli.console import emit_json, say


def register(app: typer.Typer) -> None:
    """Add the sub-command."""
    app.command(name="configure")(configure)


def configure(
    file: Annotated[Path, typer.Argument(help="A question, as examples/configure-70b.toml.", metavar="CONFIGURE.toml")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for the plan's files.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print plan.json to stdout.")] = False,
) -> None:
    """Choose what runs in each time bin for least energy, carbon or money under the SLOs; replay it on the trace.

    Example: wattlane plan configure examples/configure-70b.toml -o run
    """
    from wattlane.plan.configure.run import configure as plan

    found = plan(file, output, progress=lambda words: say.print(words, markup=False, highlight=False))
    if as_json:
        emit_json(found.as_dict())
    else:
        typer.echo("\n".join(found.lines()))
    if output is not None:
        say.print(f"wrote {output}/plan.json; check it with: wattlane certify {output}/plan.json", markup=False)
