"""The tables of the arrival shaping study for a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

WIDTH = 150
LATENCY = (("slo_attainment", "{:.1%}"), ("ttft_p99_s", "{:.2f}"), ("tbt_p99_s", "{:.3f}"), ("mean_batch", "{:.1f}"))


def shaping_tables(body: dict[str, Any]) -> None:
    """Print cells with their effects, the curve of the window, and where it pays."""
    out = Console(highlight=False)
    if not out.is_terminal:
        out.width = WIDTH
    base = body["base"]
    title = f"J a request, modelled, GPU boards; effects against {base['shape']} at {base['rate_rps']:g}/s"
    table = Table(title=f"{title}, {base['engine']}")
    names = (
        "req/s",
        "shape",
        "engine",
        "J/request",
        "rate",
        "shape",
        "engine",
        "SLO",
        "TTFT p99 s",
        "TBT p99 s",
        "batch",
    )
    for name in names:
        table.add_column(name, justify="right")
    for row in body["cells"]:
        each = [_signed(row["effects_j"][name]) for name in ("rate", "shape", "engine")]
        where = (f"{row['rate_rps']:g}", row["shape"], row["engine"].removeprefix("max_num_"))
        table.add_row(*where, _with_half(row["energy_j_per_request"]), *each, *_latency(row))
    out.print(table)
    curve = Table(title="Windows over Poisson arrivals")
    for name in ("req/s", "window s", "saving", "added TTFT s", "SLO", "TTFT p99 s", "TBT p99 s", "batch", "verdict"):
        curve.add_column(name, justify="right")
    for row in body["windows"]:
        saved = row["saving_fraction"]
        interval = f"{saved['mean']:.1%} [{saved['lo']:.1%}, {saved['hi']:.1%}]"
        place = (f"{row['rate_rps']:g}", f"{row['window_s']:g}", interval, f"{row['added_ttft_s']['mean']:.3f}")
        curve.add_row(*place, *_latency(row), row["verdict"])
    out.print(curve)
    for line in body["findings"]:
        out.print(line, soft_wrap=True)


def _latency(row: dict[str, Any]) -> list[str]:
    return [shown.format(row[name]["mean"]) for name, shown in LATENCY]


def _with_half(value: dict[str, float]) -> str:
    return f"{value['mean']:.1f} ±{value['hi'] - value['mean']:.1f}"


def _signed(value: dict[str, float]) -> str:
    if value["mean"] == value["lo"] == value["hi"] == 0.0:
        return "0"
    return f"{value['mean']:+.1f} ±{value['hi'] - value['mean']:.1f}"
