"""`wattlane shaping`: what rate, shape and window of arrivals are worth in joules, on one modelled deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wattlane.cli.console import emit_json, say


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(help=shaping.__doc__)(shaping)


def shaping(
    workload: Annotated[str, typer.Argument(help="A workload file or a shipped shape; its lengths are used.")],
    model: Annotated[str, typer.Option(help="A model's name, or its config.json.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the result.")],
    gpu: Annotated[str, typer.Option(help="A GPU's name.")] = "H100",
    precision: Annotated[str, typer.Option(help="Precision of the weights.")] = "bf16",
    rates: Annotated[str, typer.Option(help="Mean rates, requests/s.")] = "0.5,2,5,10",
    limits: Annotated[str, typer.Option(help="Values of max_num_seqs; effects count from the first.")] = "256,16",
    windows_s: Annotated[str, typer.Option("--windows-s", help="Release windows.")] = "0.05,0.1,0.2,0.5,1,2",
    requests: Annotated[int, typer.Option(help="Requests of each replay, a multiple of 16.")] = 1024,
    seeds: Annotated[int, typer.Option(help="Repeats with other requests and arrivals.")] = 5,
    ttft_s: Annotated[float, typer.Option("--ttft-s", help="Target for the time to first token, seconds.")] = 1.0,
    tbt_s: Annotated[float, typer.Option("--tbt-s", help="Target for the gap between tokens, seconds.")] = 0.1,
    profile: Annotated[Path | None, typer.Option(help="A profile file, asked instead of the shipped one.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything drawn.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Replay the same requests under six arrival shapes, several rates and windows: what each is worth.

    Example: wattlane shaping azure-conv --model Llama-3.1-8B-Instruct --gpu H100 -o run
    """
    from wattlane.cli.lists import by_comma
    from wattlane.cli.progress import steps
    from wattlane.cli.shaping_tables import shaping_tables
    from wattlane.core.types import Slo
    from wattlane.sim import run_shaping
    from wattlane.sim.shaping import Grid

    lists = by_comma(whole=("limits",), rates=rates, limits=limits, windows_s=windows_s)
    grid = Grid(lists["rates"], lists["limits"], lists["windows_s"], requests, seeds)
    with steps() as report:
        body = run_shaping(
            workload, out, model=model, gpu=gpu, precision=precision, grid=grid, slo=Slo(ttft_s, tbt_s),
            profile=profile, seed=seed, report=report,
        ).as_dict()  # fmt: skip
    if as_json:
        emit_json(body)
    else:
        shaping_tables(body)
    say.print(f"Results in {out}", soft_wrap=True)
