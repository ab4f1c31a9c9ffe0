"""One instance under a steady stream of its pool's requests, by replay: who attains, and what it draws.

A pipeline replays as rounds, in each of which all stages work on parts of the batch. A prompt's last chunk is one part:
it passes the stages one after the other, which a round does not show. `behind_s` adds it to its time to first token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.core.types import Deployment
from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.plan.configure.slo import ClassSlo
from wattlane.sim import fleet, replica, scoring
from wattlane.sim.fleet import Replay

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
SETTLED = 0.25  # share of the arrivals after which power is read


@dataclass(frozen=True, eq=False)
class Instance:
    """What serves: a deployment of one replica, its law, and the KV tokens it can keep."""

    deployment: Deployment
    law: Floats
    kv_capacity_tokens: int
    kv_block_tokens: int = 16

    @property
    def stages(self) -> int:
        """Stages of its pipeline."""
        return self.deployment.pipeline_parallel

    def replay(self, workload: Workload) -> Replay:
        """Return what the instance makes of `workload`."""
        return fleet.replay(workload, self.deployment, self.law, self.kv_capacity_tokens, self.kv_block_tokens)


def behind_s(run: Replay, rows: NDArray[np.int64]) -> Floats:
    """Return the seconds by which the last chunk of each prompt in `rows` is later than its round ends, (n,)."""
    stages = run.deployment.pipeline_parallel
    if stages == 1:
        return np.zeros(len(rows))
    chunk = np.minimum(run.workload.input_tokens[rows], run.deployment.max_num_batched_tokens).astype(float)
    lengths, which = np.unique(chunk, return_inverse=True)

    def seconds(passes: int) -> Floats:
        return np.array([it.cost(run.law, passes * n, passes * n * n / 2.0, 0.0, 0.0)[0] for n in lengths.tolist()])

    late: Floats = (seconds(stages) - seconds(1))[which]
    return late


def ttft_s(run: Replay) -> Floats:
    """Return the time from arrival to first token of every served request, pipelines passed through."""
    parts = [behind_s(run, r.rows[r.served]) for r in run.replicas]
    return fleet.ttft_s(run) + np.concatenate(parts) if parts else fleet.ttft_s(run)


def attaining(run: Replay, slos: Sequence[ClassSlo], of_class: NDArray[np.int64]) -> Mask:
    """Return which requests met every target of their class, (n,); refused ones did not."""
    out = np.zeros(len(run.workload), bool)
    for r in run.replicas:
        # a first token that is late by so much is that of a request which came so much earlier
        arrival = run.workload.arrival_s[r.rows] - behind_s(run, r.rows)
        for c in np.unique(of_class[r.rows]).tolist():
            mine, slo = of_class[r.rows] == c, slos[c]
            met = scoring.attains(r.record, r.first, arrival, r.requests, slo.ttft_s, slo.tbt_s).astype(bool)
            if np.isfinite(slo.e2e_s):
                met &= _ends(r) - arrival <= slo.e2e_s
            out[r.rows[mine]] = met[mine]
    return out


def _ends(r: fleet.Replica) -> Floats:
    last = r.first + r.requests[:, replica.OUTPUT] - 1
    return np.where(r.served, r.record[np.minimum(last, len(r.record) - 1), replica.END_S], np.inf)


def keeps(met: Mask, slos: Sequence[ClassSlo], of_class: NDArray[np.int64]) -> bool:
    """Return whether every class that occurs has its share of attaining requests, to a whole request of a sample."""

    def allowed(c: int, n: int) -> int:
        return math.ceil((1.0 - slos[c].attainment) * n - 1e-9)

    found = {c: of_class == c for c in np.unique(of_class).tolist()}
    return all(int((~met[mine]).sum()) <= allowed(c, int(mine.sum())) for c, mine in found.items())


def mean_power_w(run: Replay) -> float:
    """Return the mean watts between the first quarter of the arrivals and the last of them, idle in between counted."""
    arrival = run.workload.arrival_s
    start, end = float(np.quantile(arrival, SETTLED)), float(arrival[-1])
    (r,) = run.replicas
    begin, finish = r.record[:, replica.START_S], r.record[:, replica.END_S]
    span = np.clip(np.minimum(finish, end) - np.maximum(begin, start), 0.0, None)
    busy_s = float(span.sum())
    return (float(r.record[:, replica.POWER_W] @ span) + float(run.law[it.IDLE_W]) * (end - start - busy_s)) / (
        end - start
    )
