"""`served.parquet`: one row a request as it happened; the simulator, the gateway and the load generator write it alike.

Absent values are null, never zero. `gaps_s` holds every token gap of a request (output_tokens − 1 of them).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wattlane.core.files import read_parquet, write_parquet
from wattlane.core.types import Outcome, Slo

if TYPE_CHECKING:
    import polars as pl

KIND = "served"
COLUMNS = (
    "request_id",
    "class",
    "arrival_s",
    "release_s",
    "first_token_s",
    "end_s",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "outcome",
    "replica",
    "prefill_j",
    "decode_j",
    "idle_j",
    "gaps_s",
)
MANY_GAPS = 100  # from this many gaps on, a request is judged by its p99 gap instead of its largest


class Latency(NamedTuple):
    """How a run met its users: percentiles in seconds over completed requests, and the SLO attainment."""

    requests: int
    failed: int
    ttft_p50_s: float | None
    ttft_p99_s: float | None
    tbt_p50_s: float | None
    tbt_p99_s: float | None
    e2e_p50_s: float | None
    e2e_p99_s: float | None
    slo_attainment: float


def write_served(path: Path, table: pl.DataFrame) -> None:
    """Write the rows in the order of `COLUMNS`, sorted by request id, extra columns behind."""
    extra = [name for name in table.columns if name not in COLUMNS]
    write_parquet(path, KIND, table.select([*COLUMNS, *extra]).sort("request_id"))


def read_served(path: Path) -> pl.DataFrame:
    """Return the rows of a `served.parquet`; raise `FileFormatError` if columns are missing."""
    return read_parquet(path, KIND, COLUMNS)


def judged_gap_s(gaps_s: np.ndarray) -> float:
    """Return the gap a request is judged by: its p99, or its largest below 100 gaps; 0 for a single token."""
    if len(gaps_s) == 0:
        return 0.0
    if len(gaps_s) < MANY_GAPS:
        return float(gaps_s.max())
    return float(np.quantile(gaps_s, 0.99))


def _gaps_met(gaps_s: pl.Series, tbt_s: float) -> np.ndarray:
    """Return for each request whether its judged gap is within `tbt_s`; a p99 is computed only where it decides."""
    met = gaps_s.list.max().fill_null(0.0).to_numpy().astype(np.float64) <= tbt_s
    lengths = gaps_s.list.len().fill_null(0).to_numpy()
    for row in np.flatnonzero(~met & (lengths >= MANY_GAPS)).tolist():
        met[row] = judged_gap_s(gaps_s[row].to_numpy()) <= tbt_s
    return np.asarray(met)


def latency(table: pl.DataFrame, slo: Slo) -> Latency:
    """Return percentiles and attainment of a served table under `slo`; failures count as misses."""
    done = table.filter(table["outcome"] == Outcome.COMPLETED.value)
    failed = len(table) - len(done)
    if len(done) == 0:
        return Latency(len(table), failed, None, None, None, None, None, None, 0.0)
    arrival = done["arrival_s"].to_numpy()
    ttft = done["first_token_s"].to_numpy() - arrival
    e2e = done["end_s"].to_numpy() - arrival
    gaps = done["gaps_s"].explode(empty_as_null=False).drop_nulls().to_numpy()
    attained = int(np.sum((ttft <= slo.ttft_s) & _gaps_met(done["gaps_s"], slo.tbt_s)))

    def quantile(values: np.ndarray, q: float) -> float | None:
        return float(np.quantile(values, q)) if len(values) else None

    return Latency(
        len(table),
        failed,
        quantile(ttft, 0.5),
        quantile(ttft, 0.99),
        quantile(gaps, 0.5),
        quantile(gaps, 0.99),
        quantile(e2e, 0.5),
        quantile(e2e, 0.99),
        attained / len(table),
    )
