"""`wattlane plan frontier`: energy against accuracy over every weight."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wattlane.cli.console import emit_json
from wattlane.cli.lists import by_comma


def register(app: typer.Typer) -> None:
    """Add the sub-command."""
    app.command(name="frontier")(frontier)


def frontier(
    workload: Annotated[Path, typer.Argument(help="A trace or workload file of any known format.")],
    fit: Annotated[list[str], typer.Option(help="A law file of wattlane fit, or NAME=file; one for each target.")],
    objective: Annotated[str, typer.Option(help="energy-accuracy or energy-runtime.")] = "energy-accuracy",
    accuracy: Annotated[str | None, typer.Option(help="Score of each target, by commas; else a shipped table.")] = None,
    shares: Annotated[str | None, typer.Option(help="Share of each target, by commas.")] = None,
    share_kind: Annotated[str, typer.Option(help="What shares are: ceiling or floor, of requests.")] = "ceiling",
    share_factor: Annotated[float, typer.Option(help="Multiplies shares; 0.25 for the published floors.")] = 1.0,
    zetas: Annotated[str, typer.Option(help="Weights of energy, by commas.")] = "0,.1,.2,.3,.4,.5,.6,.7,.8,.9,1",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the points to this JSON file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Sweep the weight of energy; each point is a certified optimum, dominated ones are marked.

    Example: wattlane plan frontier trace.csv --fit 7b.json --fit 70b.json --accuracy 0.51,0.65
    """
    from wattlane.core.files import write_json
    from wattlane.plan.assign.ask import Ask, needs_accuracy
    from wattlane.plan.assign.run import frontier_files
    from wattlane.plan.assign.targets import TargetSpec

    lists = by_comma(accuracy=accuracy, shares=shares, zetas=zetas)
    spec = TargetSpec(fit, lists["accuracy"], needs_accuracy=needs_accuracy(objective, None, None))
    ask = Ask(objective, shares=lists["shares"], share_kind=share_kind, share_factor=share_factor)
    points, provenance = frontier_files(workload, spec, ask, lists["zetas"])
    body = {"points": [point.as_dict() for point in points], "provenance": provenance.as_dict()}
    if output is not None:
        write_json(output, "frontier", body)
    if as_json:
        emit_json(body)
        return
    typer.echo(f"{'zeta':>6}{'energy kWh':>12}{'mean s':>10}{'accuracy':>10}{'gap':>9}  requests by target")
    for point in points:
        total, score = point.totals, "-" if point.totals.accuracy is None else f"{point.totals.accuracy:.4f}"
        typer.echo(
            f"{point.zeta:>6.3g}{total.energy_j / 3.6e6:>12.4g}{total.mean_runtime_s:>10.4g}{score:>10}"
            f"{point.gap:>9.2g}  {', '.join(f'{count:,}' for count in point.counts)}"
            + ("  (dominated)" if point.dominated else "")
        )
