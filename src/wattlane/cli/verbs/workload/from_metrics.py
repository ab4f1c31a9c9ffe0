"""`wattlane workload from-metrics`: a workload from a fleet's Prometheus histories."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wattlane.cli.console import emit_json, say
from wattlane.core.errors import InputError

if TYPE_CHECKING:
    from wattlane.workload import FromMetrics, Range


def register(app: typer.Typer) -> None:
    """Add the sub-command."""
    app.command(name="from-metrics")(from_metrics)


def from_metrics(
    source: Annotated[str, typer.Argument(help="A JSON file or folder of query_range responses, or http(s)://server.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Plain file: .csv, .jsonl or .parquet.")],
    start: Annotated[str | None, typer.Option(help="For a server: Unix seconds or ISO 8601.")] = None,
    end: Annotated[str | None, typer.Option(help="For a server: Unix seconds or ISO 8601.")] = None,
    step_s: Annotated[float, typer.Option(help="For a server: seconds between samples.")] = 60.0,
    selector: Annotated[str, typer.Option(help='For a server: labels of vLLM, as model_name="llama".')] = "",
    gpu_selector: Annotated[str, typer.Option(help='For a server: labels of DCGM, as Hostname="node1".')] = "",
    header: Annotated[list[str] | None, typer.Option(help="For a server: as 'Authorization: Bearer …'.")] = None,
    max_input_tokens: Annotated[int | None, typer.Option(help="Longest prompt past the last bucket.")] = None,
    max_output_tokens: Annotated[int | None, typer.Option(help="Longest output past the last bucket.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Rebuild a workload from vLLM's histograms and say what the metrics cannot tell.

    Example: wattlane workload from-metrics http://prometheus:9090 --start 2026-05-01 --end 2026-05-02 -o day.parquet
    """
    from wattlane import workload

    span = None if start is None and end is None else _span(start, end, step_s, selector, gpu_selector, header or [])
    made = workload.from_metrics(
        source,
        span=span,
        seed=seed,
        max_input_tokens=max_input_tokens,
        max_output_tokens=max_output_tokens,
        name=output.stem,
    )
    workload.write(made.workload, output)
    if as_json:
        emit_json({"path": str(output), "seed": seed, **made.as_dict()})
        return
    for assumption in made.information_loss.assumptions:
        say.print(f"assumed: {assumption}", markup=False)
    typer.echo(_words(output, made))


def _span(
    start: str | None, end: str | None, step_s: float, selector: str, gpu_selector: str, headers: list[str]
) -> Range:
    from wattlane.workload import Range, unix_time

    if start is None or end is None:
        raise InputError("found one of --start and --end; expected both")
    pairs = [header.partition(":") for header in headers]
    if any(not colon for _, colon, _ in pairs):
        raise InputError("--header: found no colon; expected 'Name: value'")
    given = {name.strip(): value.strip() for name, _, value in pairs}
    return Range(unix_time(start), unix_time(end), step_s, selector, gpu_selector, given)


def _words(output: Path, made: FromMetrics) -> str:
    loss = made.information_loss
    lines = [
        f"{output}: {made.workload!r}",
        f"  {loss.steps:,} steps of {loss.step_s:g} s; what the metrics cannot tell:",
    ]
    for side, tokens in (("input", loss.input), ("output", loss.output)):
        known = (
            "recorded" if tokens.sum_known else f"within {tokens.mean_lo_tokens:,.0f} … {tokens.mean_hi_tokens:,.0f}"
        )
        lines.append(
            f"  {side} tokens: mean {tokens.mean_tokens:,.0f} ({known}); a length ± {tokens.relative_width:.0%}, "
            f"{tokens.entropy_bits:.1f} bits open; {tokens.overflow_share:.2%} past the last bucket"
        )
    lines.append(f"  input × output: {loss.product_lo:.2f} to {loss.product_hi:.2f} times the value here")
    lines.append(
        f"  requests by step: variance / mean {loss.dispersion:.1f} (Poisson 1); {loss.restarts} restarts, "
        f"{loss.gap_steps} missing samples, {loss.born_requests:,.0f} requests from servers that appeared"
    )
    power = made.power
    lines.append(
        "  power: absent"
        if power is None
        else f"  power: measured by {power.metric} on {power.gpus} GPUs, {power.covered:.1%} of the steps covered"
    )
    return "\n".join(lines)
