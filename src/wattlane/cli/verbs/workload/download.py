"""`wattlane workload download`: a public trace by name, its hash verified."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wattlane.cli.console import emit_json, say


def register(app: typer.Typer) -> None:
    """Add the sub-command."""
    app.command(name="download")(download)


def download(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Of the trace; left out, lists them.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder.")] = Path("traces"),
    registry: Annotated[Path | None, typer.Option(help="A TOML file in place of the shipped one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Download a public trace; a broken download resumes, a file that is there is checked.

    Example: wattlane workload download azure-2023-conv -o traces
    """
    from rich.progress import Progress

    from wattlane import workload
    from wattlane.core.files import read_json

    if name is None:
        _list(registry, as_json)
        return
    with Progress(console=say, transient=True) as shown:
        task = shown.add_task(name, total=None)
        path = workload.download(
            name,
            output,
            registry=registry,
            progress=lambda have, expected: shown.update(task, completed=have, total=expected),
        )
    record = read_json(workload.record_of(path))
    if as_json:
        emit_json({"path": str(path), **record})
        return
    check = "verified" if record["verified"] else "not verified, no hash is known; recorded"
    say.print(f"{record['attribution']}; licence {record['licence']}", markup=False)
    typer.echo(f"{path}: {record['bytes']:,} bytes, sha256 {record['sha256']} ({check})")


def _list(registry: Path | None, as_json: bool) -> None:
    from dataclasses import asdict

    from wattlane import workload

    traces = workload.public_traces(registry)
    if as_json:
        emit_json({"traces": [asdict(trace) for trace in traces.values()]})
        return
    for trace in traces.values():
        size = "size unknown" if trace.bytes is None else f"{trace.bytes / 1e6:,.1f} MB"
        typer.echo(f"{trace.name}: {size}, {trace.licence}; {trace.attribution}")
