"""`wattlane plan assign`: requests to models, at least energy and most accuracy, with a proof."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wattlane.cli.console import emit_json, say
from wattlane.cli.lists import by_comma

if TYPE_CHECKING:
    from wattlane.plan.assign.plan import Plan

Text = str | None
Number = float | None


def register(app: typer.Typer) -> None:
    """Add the sub-command."""
    app.command(name="assign")(assign)


def assign(
    workload: Annotated[Path, typer.Argument(help="A trace or workload file of any known format.")],
    fit: Annotated[list[str], typer.Option(help="A law file of wattlane fit, or NAME=file; one for each target.")],
    objective: Annotated[
        str, typer.Option(help="energy-accuracy, energy-runtime, joules, money or carbon.")
    ] = "energy-accuracy",
    zeta: Annotated[float, typer.Option(help="Weight of energy, 0 to 1; the rest is accuracy or runtime.")] = 0.5,
    normalisation: Annotated[str, typer.Option(help="Of energy, accuracy and runtime: min-max or max.")] = "min-max",
    accuracy: Annotated[
        Text, typer.Option(help="Score of each target, 0 to 1, by commas; else a shipped table.")
    ] = None,
    shares: Annotated[Text, typer.Option(help="Share of each target, by commas.")] = None,
    share_kind: Annotated[
        str, typer.Option(help="What shares are: ceiling or floor, of requests; capacity.")
    ] = "ceiling",
    share_factor: Annotated[float, typer.Option(help="Multiplies shares; 0.25 for the published floors.")] = 1.0,
    gpu_hours_total: Annotated[Number, typer.Option(help="GPU-hours that shares as capacities divide.")] = None,
    gpu_hours: Annotated[Text, typer.Option(help="GPU-hours of each target, by commas.")] = None,
    gpus: Annotated[Text, typer.Option(help="GPUs of an instance of each target, by commas; else 1.")] = None,
    instances: Annotated[Text, typer.Option(help="Instances of each target, by commas; for --finish-s.")] = None,
    finish_s: Annotated[Number, typer.Option(help="All work done within so many seconds.")] = None,
    deadline_s: Annotated[Number, typer.Option(help="Longest runtime of a request, seconds.")] = None,
    min_accuracy: Annotated[Number, typer.Option(help="Least score of a target for any request.")] = None,
    quality_floor: Annotated[Number, typer.Option(help="Least token-weighted mean accuracy of the plan.")] = None,
    energy_cap_j: Annotated[Number, typer.Option(help="Energy budget of the plan, joules.")] = None,
    usd_per_kwh: Annotated[Text, typer.Option(help="Price of electricity of each target, by commas.")] = None,
    usd_per_gpu_hour: Annotated[Text, typer.Option(help="Rent of a GPU of each target, by commas.")] = None,
    gco2e_per_kwh: Annotated[Text, typer.Option(help="Carbon of the electricity of each target, by commas.")] = None,
    negative: Annotated[str, typer.Option(help="Negative predictions of a law: flag, clamp or refuse.")] = "flag",
    format: Annotated[Text, typer.Option("--format", help="Of the workload; recognised if left out.")] = None,
    limit_s: Annotated[float, typer.Option(help="Time for branch and bound, seconds.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Of the random baselines.")] = 0,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the plan to this JSON file.")] = None,
    per_request: Annotated[bool, typer.Option("--per-request", help="Also write the target of each request.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Assign every request to a target: an integral plan, a bound on any plan, the gap, prices of the limits.

    Example: wattlane plan assign trace.csv --fit 7b.json --fit 70b.json --accuracy 0.51,0.65 --shares 0.5,0.6
    """
    from wattlane.plan.assign.ask import Ask, needs_accuracy
    from wattlane.plan.assign.run import assign_files
    from wattlane.plan.assign.targets import TargetSpec

    prices = {"usd_per_kwh": usd_per_kwh, "usd_per_gpu_hour": usd_per_gpu_hour, "gco2e_per_kwh": gco2e_per_kwh}
    lists = {"accuracy": accuracy, "gpus": gpus, "instances": instances, **prices}
    own = by_comma(whole=("gpus", "instances"), **lists, shares=shares, gpu_hours=gpu_hours)
    limits = {name: own.pop(name) for name in ("shares", "gpu_hours")}
    spec = TargetSpec(fit, **own, needs_accuracy=needs_accuracy(objective, quality_floor, min_accuracy))
    ask = Ask(
        objective, zeta, normalisation, limits["shares"], share_kind, share_factor, gpu_hours_total,
        limits["gpu_hours"], finish_s, energy_cap_j, quality_floor, min_accuracy, deadline_s, negative,
    )  # fmt: skip
    plan = assign_files(workload, spec, ask, format=format, seed=seed, limit_s=limit_s)
    if output is not None:
        say.print(f"wrote {', '.join(map(str, plan.write(output, per_request=per_request)))}", markup=False)
    emit_json(plan.as_dict()) if as_json else _print(plan)


def _print(plan: Plan) -> None:
    for line in plan.lines():
        typer.echo(line)
    for line in (*plan.warnings, *plan.notes):
        say.print(f"note: {line}", markup=False, soft_wrap=True)
