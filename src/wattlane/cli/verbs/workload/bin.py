"""`wattlane workload bin`: a trace as counts in length bins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wattlane.cli.console import emit_json, say


def register(app: typer.Typer) -> None:
    """Add the sub-command."""
    app.command(name="bin")(bin_lengths)


def bin_lengths(
    trace: Annotated[Path, typer.Argument(help="A trace or workload file of any known format.")],
    scheme: Annotated[
        str, typer.Option(help="fernandez-printed, fernandez-full, log-spaced or adaptive.")
    ] = "fernandez-printed",
    input_bins: Annotated[int | None, typer.Option(help="How many, for log-spaced and adaptive.")] = None,
    output_bins: Annotated[int | None, typer.Option(help="How many, for log-spaced and adaptive.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the counts to this JSON file.")] = None,
    format: Annotated[str | None, typer.Option("--format", help="Its format; recognised if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Count requests in ceiling bins of input and output length, with exclusions and token inflation.

    Example: wattlane workload bin trace.csv --scheme adaptive --input-bins 12 -o bins.json
    """
    from wattlane import workload
    from wattlane.core.files import write_json

    binned = workload.bin_lengths(
        workload.load(trace, format=format).workload, scheme, input_bins=input_bins, output_bins=output_bins
    )
    body = binned.as_dict()
    if output is not None:
        write_json(output, "bins", body)
        say.print(f"wrote {output}", markup=False)
    if as_json:
        emit_json(body)
        return
    typer.echo(
        f"{scheme}: {binned.requests:,} requests, {binned.excluded:,} excluded ({body['excluded_share']:.2%}; "
        f"{binned.excluded_input_token_share:.1%} of input, {binned.excluded_output_token_share:.1%} of output tokens)"
    )
    for side in ("input", "output"):
        factor = body[f"{side}_inflation"]
        edges = ", ".join(str(edge) for edge in body[f"{side}_edges"])
        typer.echo(f"  {side} tokens × {'-' if factor is None else f'{factor:.3f}'}; edges {edges}")
