"""wattlane: measure, predict and cut the energy of LLM inference.

    workload → measure → model → plan → simulate / serve → report

Top-level names are lazy: importing wattlane loads no numpy, no polars and no solver.
"""

from __future__ import annotations

import importlib
from typing import Any

from wattlane.core.version import VERSION as __version__  # noqa: N811

__all__ = ["__version__", "core", "measure", "model", "plan", "policy", "report", "sim", "study", "workload"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"wattlane.{name}")
    raise AttributeError(f"module 'wattlane' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
