"""Cards: what is known about a name, for a person to read, each line with its source; SI values for a program."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

from wattlane.core.facts.config import resolve_model
from wattlane.core.facts.engines import engine_defaults
from wattlane.core.facts.factors import all_factors
from wattlane.core.facts.gpus import PRECISION_BYTES, all_gpus, gpu
from wattlane.core.facts.models import Model, all_models
from wattlane.core.facts.nodes import all_nodes, node_of


class Row(NamedTuple):
    """One line of a card."""

    label: str
    value: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """A title, its lines, and the same content as plain SI values in `body`."""

    title: str
    rows: tuple[Row, ...]
    body: dict[str, Any]

    def __str__(self) -> str:
        if not self.rows:
            return self.title
        label, value = (max(len(row[column]) for row in self.rows) for column in (0, 1))
        lines = [f"{row.label:<{label}}  {row.value:<{value}}  {row.source}".rstrip() for row in self.rows]
        return "\n".join([self.title, *(f"  {line}" for line in lines)])


def gpus_card() -> Card:
    """Return one line for each GPU of the catalogue."""
    rows = tuple(
        Row(
            board.name,
            f"{board.memory_bytes / 2**30:4.0f} GiB  {board.bandwidth_bytes_per_s / 1e12:5.2f} TB/s  "
            f"{board.peak_flop_per_s('bf16') / 1e12:6.0f} TFLOP/s bf16  {board.tdp_w:5.0f} W",
            board.title,
        )
        for board in all_gpus().values()
    )
    return Card("GPUs", rows, {"gpus": [asdict(board) for board in all_gpus().values()]})


def gpu_card(name: str) -> Card:
    """Return everything known about one GPU.

    Raises:
        UnknownNameError: no such GPU.
    """
    board = gpu(name)
    rates = ", ".join(f"{key} {rate / 1e12:g}" for key, rate in board.flop_per_s.items())
    values = (
        ("memory", "memory_bytes", f"{board.memory_bytes / 2**30:.1f} GiB"),
        ("bandwidth", "bandwidth_bytes_per_s", f"{board.bandwidth_bytes_per_s / 1e12:.3f} TB/s"),
        ("TFLOP/s, dense", "flop_per_s", rates),
        ("TDP", "tdp_w", f"{board.tdp_w:g} W"),
        ("idle, no context", "idle_w", f"{board.idle_w:g} W"),
        (
            "idle, loaded",
            "idle_loaded_w",
            f"{board.idle_loaded_w:g} W [{board.idle_loaded_w_lo:g}, {board.idle_loaded_w_hi:g}]",
        ),
        ("highest SM clock", "clock_max_hz", f"{board.clock_max_hz / 1e6:g} MHz"),
        ("lowest SM clock", "clock_min_hz", f"{board.clock_min_hz / 1e6:g} MHz"),
        ("link, one direction", "link_bytes_per_s", f"{board.link_bytes_per_s / 1e9:g} GB/s"),
    )
    rows = tuple(Row(label, text, board.sources[field]) for label, field, text in values)
    return Card(f"{board.name}: {board.title}", rows, asdict(board))


def models_card() -> Card:
    """Return one line for each model of the catalogue."""
    rows = tuple(
        Row(known.name, f"{known.total_params / 1e9:6.1f} B total  {known.active_params / 1e9:6.1f} B active")
        for known in all_models().values()
    )
    return Card("models", rows, {"models": [_model_body(known) for known in all_models().values()]})


def model_card(name: str) -> Card:
    """Return the geometry of one model, by name or from the `config.json` at a path.

    Raises:
        InputError: no such model, or the config cannot be read.
    """
    known = resolve_model(name)
    weight_bytes = known.total_params * PRECISION_BYTES[known.native_precision]
    counted = (
        Row("total parameters", f"{known.total_params / 1e9:.2f} B", "counted from the geometry"),
        Row("active parameters", f"{known.active_params / 1e9:.2f} B", "counted, embedding look-up excluded"),
        Row(
            "weights",
            f"{weight_bytes / 2**30:.1f} GiB in {known.native_precision}",
            "were every weight in the published format",
        ),
        Row("KV cache", f"{known.kv_elements_per_token * 2 / 1024:.1f} KiB a token in bf16", "all layers, no window"),
    )
    skipped = {"name", "source", "date", "native_precision"}
    source = f"{known.source} ({known.date})" if known.date else known.source
    stated = tuple(
        Row(part.name, str(getattr(known, part.name)))
        for part in fields(Model)
        if part.name not in skipped and getattr(known, part.name) not in (0, False)
    )
    return Card(known.name, (*counted, *stated, Row("source", source)), _model_body(known))


def node_card(name: str) -> Card:
    """Return the facts of a server, by its name or by the GPU that stands in it.

    Raises:
        UnknownNameError: neither a server nor a GPU.
    """
    found = all_nodes()[name] if name in all_nodes() else node_of(gpu(name).name)
    rows = [Row("GPUs", ", ".join(found.gpus))]
    for key, value in found.values.items():
        low, high = found.ranges.get(key, (None, None))
        rows.append(Row(key, f"{value:g}" if low is None else f"{value:g} [{low:g}, {high:g}]", found.sources[key]))
    curve = ", ".join(f"{e:.0%} at {load:.0%}" for load, e in zip(found.psu_load, found.psu_efficiency, strict=True))
    rows.append(Row("PSU efficiency", curve, found.sources["psu_efficiency"]))
    body = {**asdict(found), "values": dict(found.values), "sources": dict(found.sources), "ranges": dict(found.ranges)}
    return Card(f"{found.name}: {found.title}", tuple(rows), body)


def engine_card(name: str) -> Card:
    """Return the defaults of one engine on each GPU of the catalogue.

    Raises:
        UnknownNameError: no such engine.
    """
    defaults = {board.name: engine_defaults(name, board) for board in all_gpus().values()}
    first = next(iter(defaults.values()))
    common = (
        Row("gpu_memory_utilization", f"{first.gpu_memory_utilization:g}", first.source),
        Row("kv_block_tokens", f"{first.kv_block_tokens}"),
        Row("prefix_caching", "on" if first.prefix_caching else "off"),
    )
    rows = tuple(
        Row(f"on {board}", f"max_num_seqs {one.max_num_seqs}, max_num_batched_tokens {one.max_num_batched_tokens}")
        for board, one in defaults.items()
    )
    body = {"engine": first.engine, "defaults": {board: asdict(one) for board, one in defaults.items()}}
    return Card(f"{first.engine} {first.version} ({first.date})", (*common, *rows), body)


def factors_card() -> Card:
    """Return the factors that turn energy into money and carbon."""
    rows = tuple(
        Row(one.name, f"{one.value:g} {one.unit}", f"{one.source} ({one.date})") for one in all_factors().values()
    )
    return Card("factors", rows, {"factors": [asdict(one) for one in all_factors().values()]})


def _model_body(known: Model) -> dict[str, Any]:
    counts = ("total_params", "active_params", "kv_elements_per_token")
    return asdict(known) | {count: getattr(known, count) for count in counts}
