"""What every verb prints with: data to stdout, words for people to stderr."""

from __future__ import annotations

import json
from typing import Any

import typer
from rich.console import Console

say = Console(stderr=True, highlight=False)


def emit_json(body: dict[str, Any]) -> None:
    """Print one JSON object to stdout."""
    typer.echo(json.dumps(body, indent=2, allow_nan=False))
