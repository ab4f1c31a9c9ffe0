"""Replay a workload on a deployment: hold and release, route, serve, and account for every joule.

Routing is round robin, which looks at nothing but the order of release, so the replicas are independent and each is
replayed by the kernel on its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.core.types import Deployment, Ledger, Origin, Slo
from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.sim import dispatch, replica, scoring


@dataclass(frozen=True, eq=False)
class Replica:
    """What one replica did: the rows of the workload it served and the kernel's arrays for them."""

    rows: NDArray[np.int64]
    requests: NDArray[np.int64]
    begun: NDArray[np.int64]
    first: NDArray[np.int64]
    energy_j: NDArray[np.float64]
    record: NDArray[np.float64]
    decoding: NDArray[np.int64]

    @property
    def served(self) -> NDArray[np.bool_]:
        """Which of its rows were not refused."""
        return np.asarray(self.first != replica.REFUSED)

    @property
    def busy_s(self) -> float:
        """Seconds in which an iteration ran."""
        return float(np.sum(self.record[:, replica.END_S] - self.record[:, replica.START_S]))


@dataclass(frozen=True, eq=False)
class Replay:
    """A workload as it was served. Times in seconds on the workload's clock; every energy is modelled."""

    workload: Workload
    deployment: Deployment
    law: NDArray[np.float64]
    release_s: NDArray[np.float64]
    replicas: tuple[Replica, ...]

    @property
    def last_end_s(self) -> float:
        """When the last token of all was produced."""
        ends = [r.record[-1, replica.END_S] for r in self.replicas if len(r.record)]
        return float(max(ends, default=self.workload.arrival_s[-1]))

    @property
    def refused(self) -> int:
        """Requests that could never fit."""
        return sum(int(np.sum(~r.served)) for r in self.replicas)

    @property
    def mean_batch(self) -> float:
        """Sequences decoding, averaged over busy time of all replicas."""
        weight = sum(r.busy_s for r in self.replicas)
        if weight == 0:
            return 0.0
        spans = [r.record[:, replica.END_S] - r.record[:, replica.START_S] for r in self.replicas]
        return float(sum(np.dot(r.decoding, s) for r, s in zip(self.replicas, spans, strict=True)) / weight)


def replay(
    workload: Workload,
    deployment: Deployment,
    law: NDArray[np.float64],
    kv_capacity_tokens: int,
    kv_block_tokens: int = 16,
) -> Replay:
    """Return what `deployment` makes of `workload` under `law` (the coefficients of one replica at its clock).

    Raises:
        InputError: the token budget is below `max_num_seqs`, so decoding sequences could not all get a token.
    """
    if deployment.max_num_batched_tokens < deployment.max_num_seqs:
        raise InputError(
            f"max_num_batched_tokens is {deployment.max_num_batched_tokens}, below max_num_seqs "
            f"{deployment.max_num_seqs}; every decoding sequence needs a token: raise one or lower the other"
        )
    kind = dispatch.WINDOWED if deployment.release_window_s > 0 else dispatch.IMMEDIATE
    release_s = dispatch.release_times(kind, deployment.release_window_s, workload.release_s)
    route = dispatch.routes(deployment.replicas, len(workload))
    assert workload.cached_tokens is not None
    columns = np.stack([workload.input_tokens, workload.cached_tokens, workload.output_tokens], axis=1)
    limits = np.array(
        [
            deployment.max_num_seqs,
            deployment.max_num_batched_tokens,
            kv_capacity_tokens // kv_block_tokens,
            kv_block_tokens,
        ],
        dtype=np.int64,
    )
    done = []
    for i in range(deployment.replicas):
        rows = np.flatnonzero(route == i)
        requests = np.ascontiguousarray(columns[rows])
        done.append(Replica(rows, requests, *replica.replay(law, release_s[rows], requests, limits)))
    return Replay(workload, deployment, law, release_s, tuple(done))


def ledger(run: Replay, end_s: float | None = None) -> Ledger:
    """Return the energy account from the first arrival to `end_s` (default: the last token).

    The metered energy integrates the power timeline (iterations and the quiet between them) without looking at
    requests; prefill and decode are sums over requests.

    Raises:
        InputError: `end_s` is before the last token.
    """
    start_s = float(run.workload.arrival_s[0])
    end_s = run.last_end_s if end_s is None else end_s
    if end_s < run.last_end_s:
        raise InputError(f"horizon ends at {end_s} s; the last token came at {run.last_end_s} s")
    idle_w = float(run.law[it.IDLE_W])
    metered = idle = prefill = decode = 0.0
    for r in run.replicas:
        span = r.record[:, replica.END_S] - r.record[:, replica.START_S]
        metered += float(np.dot(r.record[:, replica.POWER_W], span))
        quiet_j = idle_w * float(replica.quiet_s(r.record, start_s, end_s))
        # the timeline between iterations, gap by gap, against horizon minus busy time
        edges = np.concatenate([[start_s], r.record[:, replica.END_S]])
        starts = np.concatenate([r.record[:, replica.START_S], [end_s]])
        metered += idle_w * float(np.sum(starts - edges))
        idle += quiet_j
        prefill += float(r.energy_j[:, replica.PREFILL_J].sum())
        decode += float(r.energy_j[:, replica.DECODE_J].sum())
    return Ledger(metered, prefill, decode, idle, origin=Origin.MODELLED)


def attainment(run: Replay, slo: Slo) -> float:
    """Return the share of offered requests that met both targets; refused ones are misses."""
    met = 0
    for r in run.replicas:
        arrival = run.workload.arrival_s[r.rows]
        met += int(scoring.attains(r.record, r.first, arrival, r.requests, slo.ttft_s, slo.tbt_s).sum())
    return met / len(run.workload)


def tbt_quantile_s(run: Replay, q: float) -> float:
    """Return a quantile of all token gaps of all requests, seconds, to 0.6 %."""
    counts = np.zeros(scoring.BINS, np.int64)
    for r in run.replicas:
        scoring.gap_histogram(r.record, r.decoding, counts)
    return scoring.histogram_quantile_s(counts, q)


def ttft_s(run: Replay) -> NDArray[np.float64]:
    """Return the time from arrival to first token of every served request, hold time included."""
    parts = []
    for r in run.replicas:
        ok = r.served
        parts.append(r.record[r.first[ok], replica.END_S] - run.workload.arrival_s[r.rows[ok]])
    return np.concatenate(parts) if parts else np.empty(0)
