"""Facts about GPUs: each value carries its unit (in the name), its source and its date; see gpus.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from wattlane.core.errors import InputError, UnknownNameError

PRECISION_BYTES = {
    "fp32": 4.0,
    "tf32": 4.0,
    "bf16": 2.0,
    "fp16": 2.0,
    "fp8": 1.0,
    "int8": 1.0,
    "mxfp4": 0.53125,
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
    text = (resources.files("wattlane.core.facts") / "gpus.toml").read_text(encoding="utf-8")
    return {name: _gpu(name, body) for name, body in tomllib.loads(text).items()}


def gpu(name: str) -> Gpu:
    """Return the GPU of that name; case, spaces and dashes do not matter (`H100`, `h100-sxm`).

    Raises:
        UnknownNameError: no such GPU; the message lists the catalogue.
    """
    wanted = _key(name)
    for known in all_gpus().values():
        if wanted in {_key(known.name), _key(known.title)}:
            return known
    aliases = {_key(alias): known for known in all_gpus().values() for alias in _aliases()[known.name]}
    if wanted in aliases:
        return aliases[wanted]
    raise UnknownNameError("GPU", name, all_gpus(), "See `wattlane show gpus`.")


def _key(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


@cache
def _aliases() -> dict[str, tuple[str, ...]]:
    text = (resources.files("wattlane.core.facts") / "gpus.toml").read_text(encoding="utf-8")
    return {name: tuple(body.get("aliases", ())) for name, body in tomllib.loads(text).items()}


def _gpu(name: str, body: dict[str, object]) -> Gpu:
    def value(field: str) -> float:
        fact = body[field]
        assert isinstance(fact, dict)
        return float(fact["value"])

    rates = body["flop_per_s"]
    assert isinstance(rates, dict)
    sources = {
        field: f"{fact['source']} ({fact['date']})"
        for field, fact in body.items()
        if isinstance(fact, dict) and "source" in fact
    }
    return Gpu(
        name=name,
        title=str(body["title"]),
        memory_bytes=value("memory_bytes"),
        bandwidth_bytes_per_s=value("bandwidth_bytes_per_s"),
        flop_per_s={k: float(v) for k, v in rates.items() if k not in {"source", "date"}},
        tdp_w=value("tdp_w"),
        idle_w=value("idle_w"),
        idle_loaded_w=value("idle_loaded_w"),
        idle_loaded_w_lo=value("idle_loaded_w_lo"),
        idle_loaded_w_hi=value("idle_loaded_w_hi"),
        clock_max_hz=value("clock_max_hz"),
        clock_min_hz=value("clock_min_hz"),
        link_bytes_per_s=value("link_bytes_per_s"),
        sources=sources,
    )
