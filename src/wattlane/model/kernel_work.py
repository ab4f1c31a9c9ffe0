"""The rows of measured kernel-power tables as work: FLOPs and bytes of one call, from the shape of the operator.

    GEMM                 FLOPs 2·m'·n·k with m' = m rounded up to a tile of 64 rows (one row runs a vector kernel);
                         bytes of A, B and the result; block fp8 first quantises A: read 2 bytes, write and read 1
    context attention    FLOPs 4·heads·head_dim·Σ context, causal, at most the window; bytes of Q, K, V and the result
    generation attention FLOPs on query groups padded to a tile of 64 rows; bytes of the KV cache read, Q and the result
    MoE                  three products of the tokens routed to an expert, padded to a tile; bytes of the experts hit

Tables: aiconfigurator (Apache-2.0), one Parquet file a family, columns `latency` (ms), `power`, `power_limit` (W).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wattlane.core.errors import InputError, UnknownNameError

Array = NDArray[np.float64]

TILE = 64
LEAST_S = 3e-4  # shorter kernels show what ran before them
AT_LIMIT = 0.95  # of the power limit: above it a reading tells the limit
CACHE_PANEL_BYTES = 32768.0  # a panel of tiles this deep no longer stays in the 50 MB L2 cache between waves


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """Rows of one family in the order of their table; arrays of length n, `groups` names the shape of the weights.

    `reread` is the share of FLOPs whose operands come from HBM again, because a panel outgrows the L2 cache.
    `power_w` and `limit_w` are what the meter read; rows without a reading have 0.
    """

    family: str
    flop: Array
    bytes: Array
    reread: Array
    seconds: Array
    power_w: Array
    limit_w: Array
    groups: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.seconds)

    @property
    def traffic(self) -> Array:
        """Bytes per second."""
        return self.bytes / self.seconds

    @property
    def flop_rate(self) -> Array:
        """FLOP per second."""
        return self.flop / self.seconds

    def trustworthy(self) -> NDArray[np.intp]:
        """Return the indices of rows that tell about the chip: long enough for the meter, below the power limit."""
        read = (self.seconds >= LEAST_S) & (self.power_w > 0)
        return np.flatnonzero(read & (self.power_w < AT_LIMIT * self.limit_w))

    def capped(self, groups: NDArray[np.str_]) -> NDArray[np.intp]:
        """Return the indices of long rows at the power limit whose shape is among `groups`."""
        at_limit = (self.seconds >= LEAST_S) & (self.power_w >= AT_LIMIT * self.limit_w)
        return np.flatnonzero(at_limit & np.isin(self.groups, np.unique(groups)))


def _padded(rows: pl.Expr, tile: int = TILE) -> pl.Expr:
    return (rows / tile).ceil() * tile


def _gemm(width: float, activation_bytes: float) -> dict[str, pl.Expr]:
    m, n, k = (pl.col(c).cast(pl.Float64) for c in "mnk")
    return {
        "flop": 2.0 * pl.when(m == 1).then(m).otherwise(_padded(m)) * n * k,
        "bytes": width * n * k + activation_bytes * m * k + 2.0 * m * n,
        "reread": pl.min_horizontal(k * width / CACHE_PANEL_BYTES, 1.0),
    }


def _context_attention() -> dict[str, pl.Expr]:
    batch, tokens, heads, kv, dim, window = (
        pl.col(c).cast(pl.Float64)
        for c in ("batch_size", "isl", "num_heads", "num_key_value_heads", "head_dim", "window_size")
    )
    windowed = (window > 0) & (window < tokens)
    seen = pl.when(windowed).then(window * tokens - window**2 / 2).otherwise(tokens**2 / 2)
    return {
        "flop": 4.0 * batch * seen * heads * dim,
        "bytes": 2.0 * batch * tokens * dim * (2 * heads + 2 * kv),
        "reread": pl.lit(0.0),
    }


def _generation_attention() -> dict[str, pl.Expr]:
    batch, step, heads, kv, dim, window = (
        pl.col(c).cast(pl.Float64)
        for c in ("batch_size", "step", "num_heads", "num_key_value_heads", "head_dim", "window_size")
    )
    seen = pl.when((window > 0) & (window < step)).then(window).otherwise(step + 1)
    width = pl.when(pl.col("kv_cache_dtype") == "fp8").then(1.0).otherwise(2.0)
    return {
        "flop": 4.0 * batch * seen * kv * _padded(heads / kv) * dim,
        "bytes": 2.0 * batch * seen * kv * dim * width + 4.0 * batch * heads * dim,
        "reread": pl.lit(0.0),
    }


def _moe() -> dict[str, pl.Expr]:
    tokens, hidden, inter, topk, experts, tp, ep = (
        pl.col(c).cast(pl.Float64)
        for c in ("num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size")
    )
    routed, inner = tokens * topk / ep, inter / tp
    hit = experts / ep * (1.0 - (1.0 - 1.0 / experts) ** (tokens * topk))
    width = pl.when(pl.col("moe_dtype") == "bfloat16").then(2.0).otherwise(1.0)
    return {
        "flop": 6.0 * hit * _padded(routed / hit) * hidden * inner,
        "bytes": 3.0 * hit * hidden * inner * width + 2.0 * routed * (2 * hidden + 3 * inner),
        "reread": pl.lit(0.0),
    }


@dataclass(frozen=True, slots=True)
class Family:
    """One family of kernels: its table, which rows, their work, and the columns that make the shape of its weights."""

    name: str
    table: str
    rows: pl.Expr
    work: Callable[[], dict[str, pl.Expr]]
    shape: tuple[str, ...]


HEADS = ("num_heads", "num_key_value_heads", "head_dim", "window_size")
FAMILIES = {
    family.name: family
    for family in (
        Family("gemm_bf16", "gemm/*/gemm", pl.col("gemm_dtype") == "bfloat16", lambda: _gemm(2.0, 2.0), ("n", "k")),
        Family("gemm_fp8", "gemm/*/gemm", pl.col("gemm_dtype") == "fp8_block", lambda: _gemm(1.0, 4.0), ("n", "k")),
        Family("context_attention", "attention/*/context_attention", pl.lit(True), _context_attention, HEADS),
        Family("generation_attention", "attention/*/generation_attention", pl.lit(True), _generation_attention, HEADS),
        Family(
            "moe",
            "moe/*/moe",
            pl.lit(True),
            _moe,
            ("hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size"),
        ),
    )
}


def table_path(root: Path, family: str) -> Path:
    """Return the table of a family under `root`, the folder of one GPU; the newest version where there are several.

    Raises:
        UnknownNameError: no such family.
        InputError: no such table.
    """
    if family not in FAMILIES:
        raise UnknownNameError("kernel family", family, FAMILIES)
    found = sorted(root.glob(f"{FAMILIES[family].table}_perf.parquet"))
    if not found:
        raise InputError(f"{root}: found no table of {family}; expected {FAMILIES[family].table}_perf.parquet")
    return found[-1]


def read_rows(root: Path, family: str) -> Rows:
    """Return all rows of a family in the order of the table; only the columns asked for are read.

    Raises:
        UnknownNameError: no such family.
        InputError: no such table.
    """
    path, spec = table_path(root, family), FAMILIES[family]
    shape = pl.concat_str([pl.col(c).cast(pl.String) for c in spec.shape], separator=" ")
    table = (
        pl.scan_parquet(path)
        .filter(spec.rows)
        .select(
            **spec.work(),
            seconds=pl.col("latency") * 1e-3,
            power_w=pl.col("power").fill_null(0.0),
            limit_w=pl.col("power_limit"),
            groups=shape,
        )
        .collect()
    )
    values = {name: table[name].cast(pl.Float64).to_numpy() for name in table.columns if name != "groups"}
    return Rows(family, groups=table["groups"].to_numpy().astype(str), **values)
