"""A replay as files see it: the served table (one row a request) and the power timeline."""

from __future__ import annotations

import numpy as np
import polars as pl

from wattlane.core.types import Outcome
from wattlane.model import iteration as it
from wattlane.sim import replica
from wattlane.sim.fleet import Replay


def served_table(run: Replay, idle_j: float | None = None) -> pl.DataFrame:
    """Return the rows of `served.parquet`; `idle_j` of the whole run is shared equally over completed requests."""
    n = len(run.workload)
    first_token, end = np.full(n, np.nan), np.full(n, np.nan)
    energy = np.full((n, 2), np.nan)
    which = np.zeros(n, np.int64)
    gaps = [np.empty(0, np.float32)] * n
    for number, r in enumerate(run.replicas):
        which[r.rows] = number
        ok = r.served
        rows, firsts = r.rows[ok], r.first[ok]
        ends = r.record[:, replica.END_S]
        last = firsts + r.requests[ok, replica.OUTPUT] - 1
        first_token[rows], end[rows] = ends[firsts], ends[last]
        energy[rows] = r.energy_j[ok]
        between = np.diff(ends).astype(np.float32)
        for row, a, b in zip(rows.tolist(), firsts.tolist(), last.tolist(), strict=True):
            gaps[row] = between[a:b]
    completed = ~np.isnan(end)
    share = idle_j / max(int(completed.sum()), 1) if idle_j is not None else None
    w = run.workload
    assert w.cached_tokens is not None

    def absent(values: np.ndarray) -> pl.Series:
        return pl.Series(values).fill_nan(None)

    table = pl.DataFrame(
        {
            "request_id": np.arange(n),
            "class": pl.Series(["all"] * n),
            "arrival_s": w.arrival_s,
            "release_s": run.release_s,
            "first_token_s": absent(first_token),
            "end_s": absent(end),
            "input_tokens": w.input_tokens,
            "cached_tokens": w.cached_tokens,
            "output_tokens": w.output_tokens,
            "outcome": np.where(completed, Outcome.COMPLETED.value, Outcome.REFUSED.value),
            "replica": which,
            "prefill_j": absent(energy[:, replica.PREFILL_J]),
            "decode_j": absent(energy[:, replica.DECODE_J]),
            "idle_j": pl.Series([share if c else None for c in completed.tolist()], dtype=pl.Float64),
            # arrays of one length would make a column of fixed width
            "gaps_s": pl.Series(gaps).cast(pl.List(pl.Float32)),
        }
    )
    # polars takes no None among arrays
    return table.with_columns(pl.when(pl.Series(completed)).then(pl.col("gaps_s")))


def power_series(run: Replay, end_s: float, bin_s: float = 10.0) -> pl.DataFrame:
    """Return mean watts of all replicas in bins of `bin_s` from the first arrival on: columns t_s, power_w.

    The last bin ends at `end_s`; a horizon of no length has none.
    """
    start_s = float(run.workload.arrival_s[0])
    bins = int(np.ceil((end_s - start_s) / bin_s))
    edges = start_s + bin_s * np.arange(bins + 1)
    joules = np.zeros(bins)
    idle_w = float(run.law[it.IDLE_W])
    for r in run.replicas:
        # cumulative energy above idle at every iteration edge, read off at the bin edges
        times = np.ravel(r.record[:, [replica.START_S, replica.END_S]])
        span = r.record[:, replica.END_S] - r.record[:, replica.START_S]
        above = np.cumsum((r.record[:, replica.POWER_W] - idle_w) * span)
        level = np.empty(2 * len(above))
        level[0::2] = np.concatenate([[0.0], above[:-1]]) if len(above) else above
        level[1::2] = above
        at_edges = np.interp(edges, times, level, left=0.0) if len(times) else np.zeros(bins + 1)
        joules += np.diff(at_edges)
    inside = np.minimum(edges[1:], end_s) - edges[:-1]
    return pl.DataFrame({"t_s": edges[:-1] - start_s, "power_w": joules / inside + idle_w * len(run.replicas)})
