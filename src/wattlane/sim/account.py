"""What a fleet's run comes to: the ledger, one served row a request, watts over time, attainment and counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from wattlane.core.types import Ledger, Origin, Outcome, Slo
from wattlane.sim import stamps
from wattlane.sim.engine import layout as lay
from wattlane.sim.engine.layout import Floats
from wattlane.sim.paged import FleetRun, ReplicaRun


def ledger(run: FleetRun) -> Ledger:
    """Return the energy account from the first arrival to the horizon.

    The metered energy integrates iterations, rests and transfers without looking at requests; prefill and decode are
    sums over requests; idle is what the rests drew, out of order included.
    """
    metered = [float(np.dot(r.record[:, lay.POWER_W], _spans(r))) for r in run.replicas]
    rests = [float(r.rests[:, lay.REST_J].sum()) for r in run.replicas]
    moved_j = float(run.transfer_j.sum())
    return Ledger(
        metered_j=float(np.sum(metered) + np.sum(rests)) + moved_j,
        prefill_j=float(run.prefill_j.sum()),
        decode_j=float(run.decode_j.sum()),
        idle_j=float(np.sum(rests)),
        origin=Origin.MODELLED,
        parts={"kv_transfer_j": moved_j},
    )


def _spans(replica: ReplicaRun) -> Floats:
    return np.asarray(replica.record[:, lay.END_S] - replica.record[:, lay.START_S])


def served_table(run: FleetRun, idle_j: float | None = None) -> pl.DataFrame:
    """Return the rows of `served.parquet`; `idle_j` of the whole run is shared equally over completed requests.

    Beyond the columns every served table has: `attempts`, `preemptions`, `recomputed_tokens` and `transfer_j`.
    """
    at, stamps_s = stamps.token_times(run)
    done, w = ~run.refused, run.workload
    first, end = np.full(len(w), np.nan), np.full(len(w), np.nan)
    first[done], end[done] = stamps_s[at[:-1][done]], stamps_s[at[1:][done] - 1]
    share = idle_j / max(int(done.sum()), 1) if idle_j is not None else None
    between = np.diff(stamps_s, prepend=0.0).astype(np.float32)
    gaps = [between[a + 1 : b] for a, b in zip(at[:-1].tolist(), at[1:].tolist(), strict=True)]

    def absent(values: Floats) -> pl.Series:
        return pl.Series(np.where(done, values, np.nan)).fill_nan(None)

    table = pl.DataFrame(
        {
            "request_id": np.arange(len(w)),
            "class": pl.Series(["all"] * len(w)),
            "arrival_s": w.arrival_s,
            "release_s": run.release_s,
            "first_token_s": absent(first),
            "end_s": absent(end),
            "input_tokens": w.input_tokens,
            "cached_tokens": run.cached_tokens,
            "output_tokens": w.output_tokens,
            "outcome": np.where(done, Outcome.COMPLETED.value, Outcome.REFUSED.value),
            "replica": run.replica,
            "prefill_j": absent(run.prefill_j),
            "decode_j": absent(run.decode_j),
            "idle_j": pl.Series([share if ok else None for ok in done.tolist()], dtype=pl.Float64),
            "attempts": run.attempts + 1,
            "preemptions": run.preemptions,
            "recomputed_tokens": run.recomputed_tokens,
            "transfer_j": absent(run.transfer_j),
            # arrays of one length would make a column of fixed width
            "gaps_s": pl.Series(gaps).cast(pl.List(pl.Float32)),
        }
    )
    # polars takes no None among arrays
    return table.with_columns(pl.when(pl.Series(done)).then(pl.col("gaps_s")))


def attainment(run: FleetRun, slo: Slo) -> float:
    """Return the share of offered requests that met both targets; refused ones are misses."""
    return float(stamps.attains(run, slo.ttft_s, slo.tbt_s).sum()) / len(run.workload)


def power_series(run: FleetRun, bin_s: float = 10.0) -> pl.DataFrame:
    """Return mean watts of all replicas in bins of `bin_s` from the first arrival on: columns t_s, power_w.

    The last bin ends at the horizon. The energy of a transfer has no place in time and is left out.
    """
    start_s = float(run.workload.arrival_s[0])
    bins = max(int(np.ceil((run.horizon_s - start_s) / bin_s)), 0)
    edges = np.minimum(start_s + bin_s * np.arange(bins + 1), run.horizon_s)
    joules = np.zeros(bins)
    for r in run.replicas:
        starts = np.concatenate([r.record[:, lay.START_S], r.rests[:, lay.REST_START_S]])
        ends = np.concatenate([r.record[:, lay.END_S], r.rests[:, lay.REST_END_S]])
        each = np.concatenate([r.record[:, lay.POWER_W] * _spans(r), r.rests[:, lay.REST_J]])
        order = np.lexsort((ends, starts))
        level = np.concatenate([[0.0], np.cumsum(each[order])])
        times = np.concatenate([starts[order][:1], ends[order]])
        if len(order):
            joules += np.diff(np.interp(edges, times, level))
    width = np.diff(edges)
    return pl.DataFrame({"t_s": edges[:-1] - start_s, "power_w": joules / np.where(width > 0, width, 1.0)})


def counts(run: FleetRun) -> dict[str, Any]:
    """Return what the schedulers did, as plain values."""
    return {
        "requests": len(run.workload),
        "refused": int(run.refused.sum()),
        "retried": int((run.attempts > 0).sum()),
        "attempts": int(run.attempts.sum()) + len(run.workload),
        "preemptions": int(run.preemptions.sum()),
        "recomputed_tokens": int(run.recomputed_tokens.sum()),
        "cached_tokens": int(run.cached_tokens.sum()),
        "iterations": sum(len(r.record) for r in run.replicas),
        "kv_transfer_j": float(run.transfer_j.sum()),
    }


def over_budget(run: FleetRun, budget_w: float) -> dict[str, float]:
    """Return by how much all boards together drew more than a budget, at any moment, however short.

    A state of rest entered or left in no time has joules and no watts, and is left out.
    """
    starts = [np.concatenate([r.record[:, lay.START_S], r.rests[:, lay.REST_START_S]]) for r in run.replicas]
    ends = [np.concatenate([r.record[:, lay.END_S], r.rests[:, lay.REST_END_S]]) for r in run.replicas]
    joules = [np.concatenate([r.record[:, lay.POWER_W] * _spans(r), r.rests[:, lay.REST_J]]) for r in run.replicas]
    start, end, joule = np.concatenate(starts), np.concatenate(ends), np.concatenate(joules)
    lasts = end > start
    watts = joule[lasts] / (end[lasts] - start[lasts])
    times = np.concatenate([start[lasts], end[lasts]])
    order = np.argsort(times, kind="stable")
    level_w = np.cumsum(np.concatenate([watts, -watts])[order])[:-1]
    excess_w = np.maximum(level_w - budget_w * (1.0 + 1e-9), 0.0)
    widths_s = np.diff(times[order])
    excess_w[widths_s <= 0] = 0.0
    return {
        "budget_w": budget_w,
        "seconds_above": float(widths_s[excess_w > 0].sum()),
        "largest_excess_w": float(excess_w.max(initial=0.0)),
        "excess_j": float(np.dot(excess_w, widths_s)),
        "peak_w": float(level_w[widths_s > 0].max(initial=0.0)),
    }
