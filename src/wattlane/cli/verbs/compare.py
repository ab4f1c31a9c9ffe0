"""`wattlane compare`: what differs between two results, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wattlane.cli.campaign_tables import print_comparison
from wattlane.cli.console import emit_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(help=compare.__doc__)(compare)


def compare(
    a: Annotated[Path, typer.Argument(help="A run, a campaign, RUN/cells/KEY, or a served.parquet.")],
    b: Annotated[Path, typer.Argument(help="Another of the same kind.")],
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.")] = False,
) -> None:
    """Compare two results: b minus a with 95 % intervals, "no difference shown" included.

    Requests of the same id are paired (a prediction and the day that followed, two runs of one workload), or trials of
    the same number (two campaigns, two cells). Conditions that differ are named, not passed over.

    Example: wattlane compare run/cells/2cde5a02c88b run/cells/aba0f1529068
    """
    from wattlane.measure import compare as compare_results

    found = compare_results(a, b).as_dict()
    if json_output:
        emit_json(found)
    else:
        print_comparison(found)
