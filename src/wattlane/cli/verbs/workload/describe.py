"""`wattlane workload describe`: counts, rate, burstiness and token lengths of a trace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wattlane.cli.console import emit_json, say

PERCENTILES = ("mean", "std", "min", "p50", "p90", "p95", "p99", "max")


def register(app: typer.Typer) -> None:
    """Add the sub-command."""
    app.command(name="describe")(describe)


def describe(
    trace: Annotated[Path, typer.Argument(help="A trace or workload file of any known format.")],
    format: Annotated[str | None, typer.Option("--format", help="Its format; recognised if left out.")] = None,
    max_bad_share: Annotated[float, typer.Option(help="Largest share of bad rows that is accepted.")] = 0.01,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Describe a trace: requests, span, rate, gap CV, token lengths, requests by minute, correlation.

    Example: wattlane workload describe AzureLLMInferenceTrace_conv.csv --json
    """
    from wattlane import workload

    loaded = workload.load(trace, format=format, max_bad_share=max_bad_share)
    facts = {**workload.describe(loaded.workload), **loaded.as_dict()}
    for example in loaded.bad_examples:
        say.print(f"bad row left out: {example}", markup=False)
    if as_json:
        emit_json(facts)
    else:
        typer.echo(_words(facts))


def _words(facts: dict[str, Any]) -> str:
    def shown(value: float | None, unit: str = "") -> str:
        return "-" if value is None else f"{value:,.2f}{unit}"

    minutes = facts["requests_per_minute"]
    lines = [
        f"{facts['name']} ({facts['format']}): {facts['requests']:,} requests over {shown(facts['span_s'], ' s')}",
        f"  rate {shown(facts['rate_rps'], ' requests/s')}, by minute {min(minutes)} to {max(minutes)}",
        f"  gaps CV {shown(facts['gap_cv'])}, longest {shown(facts['longest_gap_s'], ' s')}",
        "  tokens" + "".join(f"{name:>11}" for name in PERCENTILES),
    ]
    for side in ("input", "output"):
        lengths = facts[f"{side}_tokens"]
        lines.append(f"  {side:<6}" + "".join(f"{shown(lengths[name]):>11}" for name in PERCENTILES))
    correlation = facts["input_output_correlation"]
    lines.append(
        f"  input against output: Pearson {shown(correlation['pearson'])}, Spearman {shown(correlation['spearman'])}; "
        f"{facts['distinct_length_pairs']:,} distinct pairs"
    )
    return "\n".join([*lines, *(f"  note: {note}" for note in facts["notes"])])
