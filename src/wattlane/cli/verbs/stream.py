"""`wattlane stream`: a workload too long to hold, served window by window on one pool; stopped and taken up again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wattlane.cli.console import emit_json, say


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(help=stream.__doc__)(stream)


def stream(
    workload: Annotated[Path, typer.Argument(help="STREAM.toml: requests, arrival and lengths, or a Parquet file.")],
    fleet: Annotated[Path, typer.Option(help="FLEET.toml with one pool under round robin.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the result; finished windows stay.")],
    ttft_s: Annotated[float, typer.Option("--ttft-s", help="Target for the time to first token, seconds.")] = 1.0,
    tbt_s: Annotated[float, typer.Option("--tbt-s", help="Target for the gap between tokens, seconds.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed of everything drawn.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Replay tens of millions of requests in bounded memory: sums, latencies and energy, no row a request.

    The same command goes on at the window in which an earlier one stopped.

    Example: wattlane stream week.toml --fleet FLEET.toml -o run
    """
    from wattlane.cli.latency_lines import latency_lines
    from wattlane.cli.progress import steps
    from wattlane.core.types import Slo
    from wattlane.sim import run_stream

    with steps() as report:
        found = run_stream(workload, fleet, out, Slo(ttft_s, tbt_s), seed, report)
    body = found.as_dict()
    if as_json:
        emit_json(body)
    else:
        typer.echo(f"requests        {body['requests']:,}, {body['refused']:,} refused; {body['horizon_s']:,.1f} s")
        typer.echo(f"windows         {body['windows']:,}, {found.resumed:,} of them from an earlier run")
        typer.echo(f"scheduler       {body['iterations']:,} iterations, {body['preemptions']:,} preemptions")
        typer.echo(f"tokens          {body['input_tokens']:,} in, {body['output_tokens']:,} out")
        latency_lines(body)
    say.print(f"Results in {out}", soft_wrap=True)
