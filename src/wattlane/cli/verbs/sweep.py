"""`wattlane sweep`: one workload on many deployments, re-priced where that is exact and replayed elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wattlane.cli.console import emit_json, say

SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(help=sweep.__doc__)(sweep)


def sweep(
    workload: Annotated[str, typer.Argument(help="A workload file or the name of a shipped shape.")],
    points: Annotated[Path, typer.Argument(help="POINTS.toml, whose lists multiply, or POINTS.csv, a row a point.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the result; finished points stay.")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of all points, as gpu=H100.")
    ] = None,
    ttft_s: Annotated[float, typer.Option("--ttft-s", help="Target for the time to first token, seconds.")] = 1.0,
    tbt_s: Annotated[float, typer.Option("--tbt-s", help="Target for the gap between tokens, seconds.")] = 0.1,
    profile: Annotated[Path | None, typer.Option(help="A profile file, asked instead of the shipped ones.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of a shape's sample.", min=0)] = 0,
    ray: Annotated[str | None, typer.Option(help="Address of a Ray cluster; one CPU a replay.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Replay a workload at every point of a file; the same command goes on where an earlier one stopped.

    Points that differ in power coefficients, idle watts, price or carbon alone share one timing history.

    Example: wattlane sweep azure-conv points.toml --set model=Llama-3.1-8B-Instruct -o run
    """
    from wattlane.cli.lists import change
    from wattlane.cli.progress import steps
    from wattlane.core.types import Slo
    from wattlane.sim import run_points

    given = dict(change(text) for text in changes or [])
    slo = Slo(ttft_s, tbt_s)
    with steps() as report:
        found = run_points(
            workload, points, out, given=given, slo=slo, profile=profile, seed=seed, ray=ray, report=report
        )
    if as_json:
        emit_json(found.as_dict())
    else:
        typer.echo(f"{found.sweep}; {found.resumed:,} from an earlier run")
        typer.echo(f"{'least energy first':<44}{'kJ, modelled':>14}{'attainment':>12}{'TTFT p50':>11}")
        for row in found.table.sort("metered_j").head(SHOWN).iter_rows(named=True):
            joules, met, first = row["metered_j"] / 1e3, row["slo_attainment"], row["ttft_p50_s"] * 1e3
            typer.echo(f"{row['name']:<44}{joules:>14,.1f}{met:>12.2%}{first:>8,.0f} ms")
    say.print(f"Results in {out}", soft_wrap=True)
