"""Length buckets in a terminal: latency beside energy, and what the energy includes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from wattlane.core.errors import InputError

MISSING = "absent"
WIDTH = 110
COLUMNS = (
    ("TTFT p50", "ttft_p50_s", 1e3, "ms"),
    ("TTFT p99", "ttft_p99_s", 1e3, "ms"),
    ("gap p99", "tbt_p99_s", 1e3, "ms"),
    ("SLO", "slo_attainment", 100.0, "%"),
    ("per completed request", "energy_j_per_request", 1.0, "J"),
)


def read_edges(text: str) -> tuple[int, ...]:
    """Return the edges of a text such as `128,512,2048`; raise `InputError` if they are not whole numbers."""
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise InputError(f"buckets is {text!r}; expected token counts such as 128,512,2048") from None


def bucket_table(rows: Sequence[dict[str, Any]]) -> None:
    """Print one line a bucket to stdout."""
    out = Console(highlight=False, soft_wrap=True)
    if not out.is_terminal:
        out.width = WIDTH
    table = Table(title=None)
    table.add_column("prompt tokens")
    for name in ("completed", *(column[0] for column in COLUMNS)):
        table.add_column(name, justify="right")
    for row in rows:
        done = f"{row['completed']} of {row['requests']}"
        table.add_row(row["bucket"], done, *(_shown(row[key], scale, unit) for _, key, scale, unit in COLUMNS))
    out.print(table)
    whole = rows[-1]
    scope = f"{whole['energy_status']}, {whole['boundary']}" if whole["boundary"] else whole["energy_status"]
    out.print(f"Energy by bucket: {scope}; phases without idle, each token of a phase at the same cost.", markup=False)


def _shown(value: float | None, scale: float, unit: str) -> str:
    return MISSING if value is None else f"{value * scale:,.3g} {unit}"
