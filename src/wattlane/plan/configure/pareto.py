"""Which modes of a pool nobody betters: energy per request, TTFT, TBT and throughput at once."""

from __future__ import annotations

import polars as pl

from wattlane.core.errors import InputError

AXES = ("energy_j_per_request", "ttft_p99_s", "tbt_p99_s", "gpu_s_per_request")  # less is better on each


def with_axes(table: pl.DataFrame) -> pl.DataFrame:
    """Return a map table with joules and GPU-seconds a request."""
    return table.with_columns(
        energy_j_per_request=pl.col("power_w") / pl.col("rate_per_s"),
        gpu_s_per_request=pl.col("gpus") / pl.col("rate_per_s"),
    )


def front(table: pl.DataFrame, pool: str) -> pl.DataFrame:
    """Return the rows of one pool that no other row betters on one axis without losing on another, by energy.

    Raises:
        InputError: the map has no such pool.
    """
    mine = with_axes(table.filter(pl.col("pool") == pool)).sort(*AXES)
    if mine.is_empty():
        raise InputError(f"pool {pool!r} is not in the map; found {', '.join(sorted(set(table['pool'])))}")
    points = mine.select(AXES).to_numpy()
    # sorted by the first axis, so that only rows before one can better it
    kept = [
        i
        for i, point in enumerate(points)
        if not any((q <= point).all() and (q < point).any() for q in points) and not (points[:i] == point).all(1).any()
    ]
    return mine[kept]
