"""`wattlane workload generate`: a seeded workload from an arrival process and a length distribution."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wattlane.cli.console import emit_json, say

ARRIVAL_HELP = (
    "kind=NAME,parameter=value,… with burst, deterministic, uniform, poisson, gamma, weibull, on_off, diurnal, "
    "delavande_legacy or windowed (another kind, held to the end of a window: "
    "kind=windowed,window_s=1,base=poisson,rate_rps=8); kind=NAME alone lists its parameters."
)
LENGTHS_HELP = "kind=NAME,parameter=value,… with fixed, lognormal, histogram, shape or trace."


def register(app: typer.Typer) -> None:
    """Add the sub-command."""
    app.command(name="generate")(generate)


def generate(
    output: Annotated[Path, typer.Option("-o", "--output", help="Plain file: .csv, .jsonl or .parquet.")],
    arrival: Annotated[str, typer.Option(help=ARRIVAL_HELP)],
    lengths: Annotated[str, typer.Option(help=LENGTHS_HELP)] = "kind=shape,name=azure-conv",
    n: Annotated[int | None, typer.Option("-n", "--requests", help="How many requests.")] = None,
    duration_s: Annotated[float | None, typer.Option(help="How long requests arrive, seconds.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the description as one JSON object.")] = False,
) -> None:
    """Generate requests: give how many, or for how long.

    Example: wattlane workload generate --arrival kind=gamma,rate_rps=5,cv=2 --duration-s 3600 -o bursty.parquet
    """
    from wattlane import workload

    made = workload.generate(arrival=arrival, lengths=lengths, n=n, duration_s=duration_s, seed=seed, name=output.stem)
    workload.write(made, output)
    for note in made.notes:
        say.print(f"note: {note}", markup=False)
    if as_json:
        emit_json({"path": str(output), **workload.describe(made)})
    else:
        typer.echo(f"{output}: {made!r}")
