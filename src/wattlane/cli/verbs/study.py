"""`wattlane study`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wattlane.cli.console import emit_json, say


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("study")(study)


def study(
    file: Annotated[Path, typer.Argument(help="A study, such as examples/azure-conv.toml.", metavar="STUDY.toml")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the results; an interrupted study resumes.")],
    trace: Annotated[Path | None, typer.Option(help="A trace file instead of the study's workload.")] = None,
    seed: Annotated[int | None, typer.Option(help="Replaces the study's seed.", min=0)] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget earlier work in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json to stdout.")] = False,
) -> None:
    """Find how to serve a workload with the least energy under its SLOs, and how sure the saving is.

    Example: wattlane study examples/azure-conv.toml -o run
    """
    from wattlane.cli.progress import steps
    from wattlane.cli.tables import study_table
    from wattlane.study import run

    with steps() as progress:
        body: dict[str, Any] = run(file, out, trace=trace, seed=seed, fresh=fresh, progress=progress)
    if as_json:
        emit_json(body)
    else:
        study_table(body)
    say.print(f"Results in {out}; make the page with: wattlane report {out}")
