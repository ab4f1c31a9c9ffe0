"""Floor 9, the command line: parse, call one library function, print, exit code."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line and leave with its exit code."""
    from wattlane.cli.app import run

    raise SystemExit(run())
