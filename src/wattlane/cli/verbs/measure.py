"""`wattlane measure`: one workload on one engine, with phases, latency and whatever energy can be had."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wattlane.cli.console import emit_json, say
from wattlane.core.errors import MeasurementError
from wattlane.core.types import Slo

if TYPE_CHECKING:
    from wattlane.measure.result import Measurement


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(help=measure.__doc__)(measure)


def measure(
    target: Annotated[str, typer.Argument(help="xllamacpp, xllamacpp:precision=Q8_0,slots=8, or http://HOST:PORT")],
    workload: Annotated[
        str, typer.Argument(help="A workload file, or e.g. poisson:n=100,rate_rps=20,input=64,output=32")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the result.")],
    seed: Annotated[int, typer.Option(help="Seed of arrivals and prompts.")] = 0,
    meter: Annotated[str | None, typer.Option(help="Energy source, as dcgm=URL; else the best found.")] = None,
    cpu_watts: Annotated[
        float | None, typer.Option(help="Assumed W per busy core; gives modelled energy where no sensor is.")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(help="At most this many requests in flight.")] = None,
    limit_s: Annotated[float, typer.Option(help="Time limit of each request, seconds.")] = 600.0,
    energy_within: Annotated[
        float | None, typer.Option(help="Error asked of the energy: 0.02 repeats a short workload in one window.")
    ] = None,
    max_passes: Annotated[int | None, typer.Option(help="Most repeats for that; beyond, exit code 4.")] = None,
    ttft_s: Annotated[float, typer.Option(help="Target for the time to first token, seconds.")] = 1.0,
    tbt_s: Annotated[float, typer.Option(help="Target for the gap between tokens, seconds.")] = 0.1,
    buckets: Annotated[
        str | None, typer.Option(help="Also divide by prompt length at these token counts, e.g. 128,512,2048.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print measurement.json to stdout.")] = False,
) -> None:
    """Drive a real engine with a workload and record every request, phases in time, and energy where a sensor sees it.

    Exit code 4 when the result is not valid (more than 1 % of requests failed, the engine died); files are written.

    Example: wattlane measure xllamacpp poisson:n=100,rate_rps=20,input=64,output=32 -o run
    """
    from wattlane.cli.buckets import read_edges
    from wattlane.measure import run
    from wattlane.measure.widen import precision_of

    edges = None if buckets is None else read_edges(buckets)
    with _bar() as show:
        result = run(
            target,
            workload,
            out,
            slo=Slo(ttft_s, tbt_s),
            seed=seed,
            meter=meter,
            cpu_watts=cpu_watts,
            concurrency=concurrency,
            limit_s=limit_s,
            precision=precision_of(energy_within, max_passes),
            on_progress=show,
        )
    rows = None if edges is None else _buckets(result, edges)
    if json_output:
        emit_json(result.as_dict() | ({} if rows is None else {"buckets": rows}))
    else:
        _print(result, rows)
    _refuse_invalid(result)


@contextmanager
def _bar() -> Iterator[Callable[[int, int, int], None]]:
    from rich.progress import Progress

    with Progress(console=say, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def show(ended: int, failed: int, offered: int) -> None:
            bar.update(task, completed=ended, total=offered, description=f"{ended} of {offered}, {failed} failed")

        yield show


def _refuse_invalid(result: Measurement) -> None:
    if not result.valid:
        raise MeasurementError(f"{result.folder}: the measurement is not valid: {result.reasons[0]}")


def _buckets(result: Measurement, edges: tuple[int, ...]) -> list[dict[str, Any]]:
    from wattlane.core.served import read_served
    from wattlane.measure.buckets import PhaseCosts, by_length

    return by_length(
        read_served(result.folder / "served.parquet"), PhaseCosts.of(result.as_dict()), edges, slo=result.slo
    )


def _print(result: Measurement, rows: list[dict[str, Any]] | None) -> None:
    from wattlane.cli.buckets import bucket_table

    latency = result.latency
    typer.echo(f"requests   {result.requests}, {result.failed} failed; {result.window_s:.2f} s")
    typer.echo(f"tokens     {result.input_tokens} in, {result.output_tokens} out")
    typer.echo(f"ttft       p50 {_seconds(latency.ttft_p50_s)}, p99 {_seconds(latency.ttft_p99_s)}")
    typer.echo(f"token gap  p50 {_seconds(latency.tbt_p50_s)}, p99 {_seconds(latency.tbt_p99_s)}")
    for name, phase in (("prefill", result.prefill), ("decode", result.decode)):
        typer.echo(f"{name:<10} {phase.duration_s:.2f} s active, {phase.tokens} tokens, energy {phase.energy}")
    typer.echo(f"whole run  energy {result.energy}")
    if result.per.request.budget is not None:
        typer.echo(f"           {result.per}")
    known = [f"{one.level.value} {one.power_w:.4g} W" for one in result.idle if one.power_w is not None]
    typer.echo(f"idle       {', '.join(known) or 'absent'}")
    if rows is not None:
        bucket_table(rows)
    for reason in result.reasons:
        say.print(f"  {reason}", markup=False, soft_wrap=True)


def _seconds(value_s: float | None) -> str:
    return "absent" if value_s is None else f"{value_s * 1e3:.1f} ms"
