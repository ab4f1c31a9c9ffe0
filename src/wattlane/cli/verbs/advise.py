"""`wattlane advise`: what to change for a workload, best first."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wattlane.cli.console import emit_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("advise")(advise)


def advise(
    workload: Annotated[str, typer.Argument(help="A trace file, or the name of a shipped shape such as azure-conv.")],
    model: Annotated[str, typer.Option(help="A model of the catalogue, or the path of a config.json.")],
    gpu: Annotated[str, typer.Option(help="A GPU of the catalogue.")] = "H100",
    precision: Annotated[str, typer.Option(help="Of the weights now.")] = "bf16",
    tp: Annotated[int, typer.Option(help="GPUs a replica now.", min=1)] = 1,
    replicas: Annotated[int | None, typer.Option(help="Now; else the fewest that keep the SLO.", min=1)] = None,
    max_num_seqs: Annotated[int | None, typer.Option(help="Now; else the engine's default.", min=1)] = None,
    max_num_batched_tokens: Annotated[int | None, typer.Option(help="Now; else the default.", min=1)] = None,
    ttft_s: Annotated[float, typer.Option(help="SLO: time to first token.")] = 1.0,
    tbt_s: Annotated[float, typer.Option(help="SLO: p99 of a request's token gaps.")] = 0.1,
    attainment: Annotated[float, typer.Option(help="SLO: share of requests that must meet both.")] = 0.99,
    latency_budget_s: Annotated[float, typer.Option(help="Longest release window tried.")] = 0.5,
    runs: Annotated[list[Path] | None, typer.Option(help="A campaign of yours; goes before models.")] = None,
    seed: Annotated[int, typer.Option(help="Of a shape's draws.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Rank what to change: batch limits, release window, precision, parallelism, clock, speculative decoding.

    Example: wattlane advise azure-conv --model meta-llama/Llama-3.1-8B-Instruct --gpu H100
    """
    from wattlane.core.types import Slo
    from wattlane.plan.advise.run import advise as advice

    found = advice(
        workload, model=model, gpu=gpu, precision=precision, tensor_parallel=tp, replicas=replicas,
        max_num_seqs=max_num_seqs, max_num_batched_tokens=max_num_batched_tokens,
        slo=Slo(ttft_s, tbt_s, attainment), latency_budget_s=latency_budget_s, campaigns=runs or (), seed=seed,
    )  # fmt: skip
    emit_json(found.as_dict()) if as_json else typer.echo("\n".join(found.lines()))
