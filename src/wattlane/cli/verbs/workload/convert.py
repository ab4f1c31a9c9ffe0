"""`wattlane workload convert`: any known trace to a plain workload file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wattlane.cli.console import say


def register(app: typer.Typer) -> None:
    """Add the sub-command."""
    app.command(name="convert")(convert)


def convert(
    trace: Annotated[Path, typer.Argument(help="A trace or workload file of any known format.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Plain file: .csv, .jsonl or .parquet.")],
    format: Annotated[str | None, typer.Option("--format", help="Its format; recognised if left out.")] = None,
    max_bad_share: Annotated[float, typer.Option(help="Largest share of bad rows that is accepted.")] = 0.01,
) -> None:
    """Convert a trace to arrival_s, input_tokens, output_tokens.

    Example: wattlane workload convert BurstGPT_1.csv -o burstgpt.parquet
    """
    from wattlane import workload

    loaded = workload.convert(trace, output, format=format, max_bad_share=max_bad_share)
    for example in loaded.bad_examples:
        say.print(f"bad row left out: {example}", markup=False)
    for note in loaded.workload.notes:
        say.print(f"note: {note}", markup=False)
    typer.echo(f"{output}: {len(loaded.workload):,} requests from {loaded.format}")
