"""Measured time per output token of other engines and models: rows a phase law's time part is fitted to or scored on.

Read from the end-to-end table of aiconfigurator (Apache-2.0): closed loops of `concurrency` requests of fixed lengths
against vLLM on H100. What runs together is the concurrency, at most what the KV cache holds:

    running = min(concurrency, tokens the cache holds / mean context of a request)

The table's batch size is per attention rank, so the concurrency is used. An empty precision is taken as bf16: Qwen3-32B
rows without one are slower by the factor its 16-bit weights explain, its fp8 rows are labelled. The 4-bit rows of
gpt-oss are its native mxfp4 (H100 has no nvfp4).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wattlane.core.errors import FileFormatError
from wattlane.core.facts.gpus import gpu
from wattlane.core.facts.models import model
from wattlane.core.files import existing
from wattlane.model.laws.phase import Case
from wattlane.model.steady import effective_context

COLUMNS = ("backend", "mode", "system", "model_path", "silicon_ttft_ms", "silicon_tpot_ms", "isl", "osl", "concurrency")
GPU_MEMORY_UTILIZATION = 0.9
ASYNC_SINCE = (0, 14)  # vLLM schedules the next step while the GPU works, by default since this version
NATIVE = {"fp4": "mxfp4", None: "bf16"}


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """One measured configuration: mean seconds per output token of `running` requests of fixed lengths."""

    case: Case
    version: str
    input_tokens: float
    output_tokens: float
    concurrency: float
    running: float
    tpot_s: float
    ttft_s: float

    @property
    def context_tokens(self) -> float:
        """Mean context an attending layer reads."""
        return effective_context(self.case.model, self.input_tokens + self.output_tokens / 2)

    @property
    def observed_running(self) -> float:
        """How many of the requests in flight decoded, by Little's law from the row's own times."""
        decoding_s = self.output_tokens * self.tpot_s
        return self.concurrency * decoding_s / (decoding_s + self.ttft_s)

    @property
    def is_queued(self) -> bool:
        """Whether the engine held most requests back although its cache had room: the load is then not known."""
        return self.observed_running < 0.5 * self.running

    @property
    def is_async(self) -> bool:
        """Whether the engine schedules while the GPU works; no version stated counts as no."""
        parts = self.version.split(".")[:2]
        return all(p.isdigit() for p in parts) and tuple(int(p) for p in parts) >= ASYNC_SINCE


def read_latency(path: Path) -> tuple[LatencyRow, ...]:
    """Return the aggregated H100 vLLM rows of the table.

    Raises:
        FileFormatError: a column is missing.
        UnknownNameError: a model the catalogue does not know.
    """
    table = pl.read_csv(existing(path), infer_schema_length=None)
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise FileFormatError(f"{path}: missing columns {', '.join(missing)}; found {', '.join(table.columns)}")
    wanted = (pl.col("backend") == "vllm") & (pl.col("mode") == "agg") & (pl.col("system") == "h100_sxm")
    return tuple(_row(r) for r in table.filter(wanted).iter_rows(named=True))


def _row(r: dict[str, Any]) -> LatencyRow:
    geometry, tp = model(r["model_path"]), int(r["tp_size"])
    experts = min(int(r["moe_ep_size"] or 1), tp) if geometry.is_moe else None
    precision = NATIVE.get(r["precision"], r["precision"])
    case = Case(gpu("H100"), geometry, precision, tp, expert_parallel=experts)
    tin, tout = float(r["isl"]), float(r["osl"])
    asked = float(r["concurrency"] or r["batch_size"])
    room = case.kv_capacity_tokens(GPU_MEMORY_UTILIZATION) / effective_context(geometry, tin + tout / 2)
    times = (r["silicon_tpot_ms"] * 1e-3, r["silicon_ttft_ms"] * 1e-3)
    return LatencyRow(case, r["backend_version"] or "", tin, tout, asked, min(asked, room), *times)


def columns(rows: tuple[LatencyRow, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (what `wattlane.model.steady.steady_rows` is asked, (n, 4); log of the measured seconds, (n,))."""
    asked = np.array([(r.running, r.input_tokens, r.output_tokens, r.context_tokens) for r in rows])
    return asked, np.log([r.tpot_s for r in rows])
