"""One side of a comparison: a deployment's run in numbers, as summary.json and the page show it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from wattlane.core.served import Latency, latency
from wattlane.core.types import Boundary, Ledger, Origin, Outcome
from wattlane.plan.scenario import Scenario, Score
from wattlane.sim import export, fleet
from wattlane.sim.fleet import Replay


@dataclass(frozen=True, eq=False)
class Side:
    """A replayed deployment charged over a horizon."""

    label: str
    score: Score
    run: Replay
    ledger: Ledger
    served: pl.DataFrame
    latency: Latency
    end_s: float

    @property
    def energy_j(self) -> float:
        """All joules from the first arrival to the horizon."""
        return self.ledger.metered_j


def side(label: str, scenario: Scenario, score: Score, end_s: float) -> Side:
    """Replay a scored deployment once more, keeping everything, and charge it to `end_s`."""
    run = scenario.replay(score.deployment)
    account = fleet.ledger(run, end_s)
    served = export.served_table(run, account.idle_j)
    return Side(label, score, run, account, served, latency(served, scenario.slo), end_s)


def in_numbers(s: Side) -> dict[str, Any]:
    """Return the JSON form of a side."""
    completed = s.latency.requests - s.latency.failed
    done = s.served.filter(pl.col("outcome") == Outcome.COMPLETED.value)
    output_tokens = int(done["output_tokens"].sum())
    start_s = float(s.run.workload.arrival_s[0])
    return {
        "label": s.label,
        "requests": s.latency.requests,
        "failed": s.latency.failed,
        "energy_j": s.energy_j,
        "energy_j_per_request": s.energy_j / completed if completed else None,
        "energy_j_per_output_token": s.energy_j / output_tokens if output_tokens else None,
        "prefill_j": s.ledger.prefill_j,
        "decode_j": s.ledger.decode_j,
        "idle_j": s.ledger.idle_j,
        "mean_power_w": s.energy_j / (s.end_s - start_s),
        "ttft_p50_s": s.latency.ttft_p50_s,
        "ttft_p99_s": s.latency.ttft_p99_s,
        "tbt_p50_s": s.latency.tbt_p50_s,
        "tbt_p99_s": s.latency.tbt_p99_s,
        "e2e_p50_s": s.latency.e2e_p50_s,
        "e2e_p99_s": s.latency.e2e_p99_s,
        "slo_attainment": s.latency.slo_attainment,
        "replicas": s.score.deployment.replicas,
        "mean_batch": s.run.mean_batch,
        "origin": Origin.MODELLED.value,
        "boundary": Boundary.GPU.value,
        "deployment": asdict(s.score.deployment),
    }


def ledger_in_numbers(account: Ledger) -> dict[str, float]:
    """Return the JSON form of a ledger."""
    return {
        "metered_j": account.metered_j,
        "prefill_j": account.prefill_j,
        "decode_j": account.decode_j,
        "idle_j": account.idle_j,
        "overhead_j": account.overhead_j,
        "residual_j": account.residual_j,
    }
