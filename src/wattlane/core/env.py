"""Every environment variable wattlane reads, in one place (listed in docs/reference/environment.md)."""

from __future__ import annotations

import os
from pathlib import Path


def data_dir() -> Path | None:
    """`WATTLANE_DATA`: folder of real traces and measurements, used by fitting and by tests; None if unset."""
    value = os.environ.get("WATTLANE_DATA")
    return Path(value) if value else None


def wilkins_dir() -> Path | None:
    """`WATTLANE_WILKINS`: folder of the released files of arXiv 2407.04014 and EASLI, used by tests; None if unset."""
    value = os.environ.get("WATTLANE_WILKINS")
    return Path(value) if value else None


def cache_dir() -> Path:
    """`WATTLANE_CACHE`: where compiled kernels and downloaded traces are kept (default: ~/.cache/wattlane)."""
    value = os.environ.get("WATTLANE_CACHE")
    return Path(value) if value else Path.home() / ".cache" / "wattlane"


def api_key() -> str | None:
    """`WATTLANE_API_KEY`: bearer key sent to a server that asks for one; never written to a result file."""
    return os.environ.get("WATTLANE_API_KEY") or None
