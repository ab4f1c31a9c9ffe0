"""Facts about GPUs: each value carries its unit (in the name), its source and its date; see gpus.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from wattlane.core.errors import InputError, UnknownNameError

# Bytes a weight takes; the 4-bit block formats include their shared scales (one byte for 32 or 16 weights).
PRECISION_BYTES = {
    "fp32": 4.0,
    "tf32": 4.0,
    "bf16": 2.0,
    "fp16": 2.0,
    "fp8": 1.0,
    "int8": 1.0,
    "mxfp4": 0.53125,
    "nvfp4": 0.5625,
    "int4": 0.5,
}


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU board. FLOP/s are dense (no sparsity). `sources` maps each field to its source and date."""

    name: str
    title: str
    memory_bytes: float
    bandwidth_bytes_per_s: float
    flop_per_s: dict[str, float]
    tdp_w: float
    idle_w: float
    idle_loaded_w: float
    idle_loaded_w_lo: float
    idle_loaded_w_hi: float
    clock_max_hz: float
    clock_min_hz: float
    link_bytes_per_s: float
    sources: dict[str, str]

    def peak_flop_per_s(self, precision: str) -> float:
        """Return the dense peak at `precision`; weights of 4-bit formats compute at the widest native rate below them.

        Raises:
            InputError: the board has no such rate and no documented fallback.
        """
        for candidate in (precision, *FALLBACK_PRECISION.get(precision, ())):
            if candidate in self.flop_per_s:
                return self.flop_per_s[candidate]
        raise InputError(f"{self.name} has no {precision} rate; expected one of {', '.join(sorted(self.flop_per_s))}")


# A precision without its own tensor rate is computed in the next one that exists, weights being widened on load.
FALLBACK_PRECISION = {
    "mxfp4": ("bf16",),
    "nvfp4": ("bf16",),
    "int4": ("bf16",),
    "fp8": ("bf16",),
    "int8": ("bf16",),
    "fp16": ("bf16",),
    "bf16": ("fp16",),
    "tf32": ("fp32",),
}


@cache
def all_gpus() -> dict[str, Gpu]:
    """Return every GPU of the catalogue by name."""
    return {name: _gpu(name, body) for name, body in _tables().items()}


def gpu(name: str) -> Gpu:
    """Return the GPU of that name, title or alias; case, spaces and dashes do not matter (`H100`, `h100-sxm`).

    Raises:
        UnknownNameError: no such GPU; the message lists the catalogue.
    """
    wanted = _key(name)
    for known, body in _tables().items():
        if wanted in {_key(label) for label in (known, str(body["title"]), *body["aliases"])}:
            return all_gpus()[known]
    raise UnknownNameError("GPU", name, all_gpus(), "See `wattlane show gpus`.")


@cache
def _tables() -> dict[str, dict[str, Any]]:
    text = (resources.files("wattlane.core.facts") / "gpus.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _key(name: str) -> str:
    bare = "".join(c for c in name.lower() if c.isalnum())
    return bare.removeprefix("nvidia").removeprefix("amd")


def _gpu(name: str, body: dict[str, Any]) -> Gpu:
    rates = {key: float(rate) for key, rate in body["flop_per_s"].items() if key in PRECISION_BYTES}
    facts = {key: fact for key, fact in body.items() if isinstance(fact, dict)}
    values = {key: float(fact["value"]) for key, fact in facts.items() if key != "flop_per_s"}
    sources = {key: f"{fact['source']} ({fact['date']})" for key, fact in facts.items()}
    return Gpu(name=name, title=str(body["title"]), flop_per_s=rates, sources=sources, **values)
