"""Facts about servers: what draws power beside the GPUs; see nodes.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from wattlane.core.errors import UnknownNameError


@dataclass(frozen=True, slots=True)
class Node:
    """One kind of server. `values` are by name; `ranges` holds (lo, hi) of the uncertain ones; `sources` of all."""

    name: str
    title: str
    gpus: tuple[str, ...]
    values: Mapping[str, float]
    ranges: Mapping[str, tuple[float, float]]
    psu_load: tuple[float, ...]
    psu_efficiency: tuple[float, ...]
    sources: Mapping[str, str]

    @property
    def gpus_per_server(self) -> int:
        """GPUs of a full server."""
        return int(self.values["gpus_per_server"])


@cache
def all_nodes() -> dict[str, Node]:
    """Return every kind of server by name."""
    text = (resources.files("wattlane.core.facts") / "nodes.toml").read_text(encoding="utf-8")
    return {name: _node(name, body) for name, body in tomllib.loads(text).items()}


def node_of(gpu: str) -> Node:
    """Return the server a GPU of the catalogue commonly stands in.

    Raises:
        UnknownNameError: no server is known for it.
    """
    for found in all_nodes().values():
        if gpu in found.gpus:
            return found
    known = [name for found in all_nodes().values() for name in found.gpus]
    raise UnknownNameError("GPU of a server", gpu, known)


def _node(name: str, body: dict[str, Any]) -> Node:
    facts = {key: fact for key, fact in body.items() if isinstance(fact, dict)}
    scalars = {key: fact for key, fact in facts.items() if not isinstance(fact["value"], list)}
    return Node(
        name=name,
        title=str(body["title"]),
        gpus=tuple(body["gpus"]),
        values={key: float(fact["value"]) for key, fact in scalars.items()},
        ranges={key: (float(fact["lo"]), float(fact["hi"])) for key, fact in scalars.items() if "lo" in fact},
        psu_load=tuple(facts["psu_load"]["value"]),
        psu_efficiency=tuple(facts["psu_efficiency"]["value"]),
        sources={key: f"{fact['source']} ({fact['date']})" for key, fact in facts.items()},
    )
