"""`wattlane report`: one self-contained page from the folders of results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wattlane.cli.console import emit_json

PAGE = "report.html"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(help=report.__doc__)(report)


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of a study, suite, shaping or fit.")],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="The page. [default: RUN/report.html, or report.html for several]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make one HTML page of one result or of several of a kind: the answer, tables, figures, assumptions.

    The page holds everything it shows and asks nothing of the network. Its path is printed.

    Example: wattlane report run -o page.html
    """
    from wattlane.report import page

    folder = runs[0].parent if runs[0].suffix == ".json" else runs[0]
    written = page(runs, out or (folder / PAGE if len(runs) == 1 else Path(PAGE)))
    if as_json:
        emit_json({"page": str(written), "runs": [str(run) for run in runs]})
    else:
        typer.echo(str(written))
