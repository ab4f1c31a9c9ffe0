"""One instance under a steady stream of its pool's requests, by replay: who attains, and what it draws."""

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

    def replay(self, workload: Workload) -> Replay:
        """Return what the instance makes of `workload`."""
        return fleet.replay(workload, self.deployment, self.law, self.kv_capacity_tokens, self.kv_block_tokens)


def attaining(run: Replay, slos: Sequence[ClassSlo], of_class: NDArray[np.int64]) -> Mask:
    """Return which requests met every target of their class, (n,); refused ones did not."""
    out = np.zeros(len(run.workload), bool)
    for r in run.replicas:
        arrival = run.workload.arrival_s[r.rows]
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
