"""`wattlane design`: which measurements to take next, as a campaign."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wattlane.cli.console import emit_json, say


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(help=design.__doc__)(design)


def design(
    model: Annotated[str, typer.Option(help="Name of a model, or path of a config.json.")],
    gpu: Annotated[str, typer.Option(help="Name of the GPU to measure on.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The campaign to write, a TOML file.")],
    count: Annotated[int, typer.Option("-n", "--count", help="Measurements, at most 30.")] = 12,
    precision: Annotated[str, typer.Option(help="Of the weights.")] = "bf16",
    tp: Annotated[int, typer.Option(help="GPUs of a replica (tensor parallel).", min=1)] = 1,
    profile: Annotated[Path | None, typer.Option(help="A profile file, asked instead of the shipped one.")] = None,
    criterion: Annotated[
        str, typer.Option(help="variance (of what will be predicted) or determinant (of the parameters, D-optimal).")
    ] = "variance",
    cost_weight: Annotated[
        float,
        typer.Option(help="Power of the seconds of a measurement that its gain is divided by; 0 ignores them."),
    ] = 0.5,
    target: Annotated[
        str | None, typer.Option(help="What is measured, as wattlane measure takes it; a vLLM server unless given.")
    ] = None,
    repeats: Annotated[int, typer.Option(help="Trials of each measurement.", min=1)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Choose the measurements that tell a profile most for their cost, and write them as a campaign.

    Then: wattlane campaign CAMPAIGN.toml -o run; wattlane calibrate run --profile GPU -o my-profile.json

    Example: wattlane design --model Llama-3.1-8B-Instruct --gpu H100 -n 12 -o next.toml
    """
    from wattlane.model.design import write_design

    found = write_design(
        model, gpu, out, count, precision=precision, tensor_parallel=tp, profile=profile, criterion=criterion,
        cost_weight=cost_weight, target=target, repeats=repeats,
    )  # fmt: skip
    if as_json:
        emit_json(found.as_dict())
    else:
        typer.echo(str(found))
    say.print(f"wrote {out}; next: wattlane campaign {out} -o run", markup=False, soft_wrap=True)
