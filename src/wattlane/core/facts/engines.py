"""Facts about serving engines: the batching limits an engine takes when nobody sets them; see engines.toml.

They are the baseline of a study, so their version and source travel with them.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from wattlane.core.errors import UnknownNameError
from wattlane.core.facts.gpus import Gpu


@dataclass(frozen=True, slots=True)
class EngineDefaults:
    """What one engine version does on one class of GPU when its flags are not given."""

    engine: str
    version: str
    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float
    kv_block_tokens: int
    source: str
    date: str
    prefix_caching: bool = True
    title: str = ""


def all_engines() -> tuple[str, ...]:
    """Return the names of the engines in the catalogue."""
    return tuple(_tables())


def engine_defaults(engine: str, gpu: Gpu) -> EngineDefaults:
    """Return the defaults of `engine` (case does not matter) on `gpu`.

    Raises:
        UnknownNameError: no such engine; the message lists the catalogue.
    """
    name = engine.lower()
    if name not in _tables():
        raise UnknownNameError("engine", engine, all_engines(), "Give the batching limits yourself for any other.")
    body = _tables()[name]
    limits = next(row for row in body["class"] if _applies(row, gpu))
    return EngineDefaults(
        engine=name,
        version=str(body["version"]),
        max_num_seqs=int(limits["max_num_seqs"]["value"]),
        max_num_batched_tokens=int(limits["max_num_batched_tokens"]["value"]),
        gpu_memory_utilization=float(body["gpu_memory_utilization"]["value"]),
        kv_block_tokens=int(body["kv_block_tokens"]["value"]),
        source=str(body["source"]),
        date=str(body["date"]),
        prefix_caching=bool(body["prefix_caching"]["value"]),
        title=str(body["title"]),
    )


def _applies(row: dict[str, Any], gpu: Gpu) -> bool:
    large = gpu.memory_bytes >= float(row["min_memory_bytes"]["value"])
    return large and not any(part in gpu.title.lower() for part in row["not_named"])


@cache
def _tables() -> dict[str, dict[str, Any]]:
    text = (resources.files("wattlane.core.facts") / "engines.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
