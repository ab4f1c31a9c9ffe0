"""One cell: a controller serving one hour at one load, in numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wattlane.core.types import Slo
from wattlane.core.workload import Workload
from wattlane.sim import account, paged, stamps
from wattlane.sim.engine import layout as lay
from wattlane.sim.engine.states import ENTERING, LEAVING
from wattlane.sim.fleet_types import Fleet
from wattlane.sim.paged import FleetRun
from wattlane.study.suite.loads import account_end_s


class Worth(NamedTuple):
    """What tuning looks at: joules for each output token of a request that met the SLO, and the share that did."""

    j_per_good_token: float
    attainment: float


def replayed(workload: Workload, fleet: Fleet) -> FleetRun:
    """Replay a workload to the end of its account."""
    return paged.replay(workload, fleet, until_s=account_end_s(workload))


def _good_tokens(run: FleetRun, met: NDArray[np.int64]) -> int:
    return int(run.workload.output_tokens[met == 1].sum())


def worth(workload: Workload, fleet: Fleet, slo: Slo) -> Worth:
    """Return what a fleet makes of a workload, for tuning; infinite joules if no request met the SLO."""
    run = replayed(workload, fleet)
    met = stamps.attains(run, slo.ttft_s, slo.tbt_s)
    good, energy_j = _good_tokens(run, met), account.ledger(run).metered_j
    return Worth(energy_j / good if good else np.inf, float(met.mean()))


def numbers(workload: Workload, fleet: Fleet, slo: Slo) -> dict[str, Any]:
    """Return the row of a cell. Latencies are over completed requests, None without any; energies are modelled."""
    run = replayed(workload, fleet)
    met = stamps.attains(run, slo.ttft_s, slo.tbt_s)
    book = account.ledger(run)
    good, done = _good_tokens(run, met), int((~run.refused).sum())
    horizon_s = run.horizon_s - float(workload.arrival_s[0])
    busy_s = sum(float((r.record[:, lay.END_S] - r.record[:, lay.START_S]).sum()) for r in run.replicas)
    return {
        "requests": len(workload),
        "refused": int(run.refused.sum()),
        "output_tokens": int(workload.output_tokens[~run.refused].sum()),
        "good_tokens": good,
        "energy_j": book.metered_j,
        "prefill_j": book.prefill_j,
        "decode_j": book.decode_j,
        "idle_j": book.idle_j,
        "tail_j": _tail_j(run),
        "reconfiguration_j": _rest_j(run, (ENTERING, LEAVING)),
        "energy_j_per_good_token": book.metered_j / good if good else None,
        "energy_j_per_request": book.metered_j / done if done else None,
        "attainment": float(met.mean()),
        **_latencies(run),
        "mean_power_w": book.metered_j / horizon_s,
        "busy_share": busy_s / (horizon_s * run.fleet.replicas),
        "horizon_s": horizon_s,
    }


def _latencies(run: FleetRun) -> dict[str, float | None]:
    at, stamps_s = stamps.token_times(run)
    done = ~run.refused
    ttft_s = stamps_s[at[:-1][done]] - run.workload.arrival_s[done]
    within = np.ones(len(stamps_s), bool)
    within[at[:-1][done]] = False  # the difference to another request's last token is no gap
    gaps_s = np.diff(stamps_s, prepend=0.0)[within]
    found: dict[str, float | None] = {}
    for name, values in (("ttft", ttft_s), ("tbt", gaps_s)):
        p50, p99 = np.quantile(values, [0.5, 0.99]).tolist() if len(values) else (None, None)
        found |= {f"{name}_p50_s": p50, f"{name}_p99_s": p99}
    return found


def _tail_j(run: FleetRun) -> float:
    """Return the joules from the end of the fleet's last iteration on."""
    last_s = max((float(r.record[-1, lay.END_S]) for r in run.replicas if len(r.record)), default=0.0)
    total = 0.0
    for r in run.replicas:
        start_s, end_s = r.rests[:, lay.REST_START_S], r.rests[:, lay.REST_END_S]
        length_s = end_s - start_s
        after_s = np.clip(end_s - np.maximum(start_s, last_s), 0.0, None)
        share = np.divide(after_s, length_s, out=np.zeros_like(length_s), where=length_s > 0)
        total += float((share * r.rests[:, lay.REST_J]).sum())
    return total


def _rest_j(run: FleetRun, states: tuple[int, ...]) -> float:
    return sum(float(r.rests[np.isin(r.rests[:, lay.REST_STATE], states), lay.REST_J].sum()) for r in run.replicas)
