"""A scenario: what is asked (workload, SLO) and what answers (a model on a GPU, a fitted law), scored by replay."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wattlane.core.types import Deployment, Slo
from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.model.laws.phase import Case
from wattlane.model.profile import Draw, Profile, draw
from wattlane.sim import fleet, scoring
from wattlane.sim.fleet import Replay


@dataclass(frozen=True, slots=True)
class Score:
    """One deployment on one workload: enough to charge it over any horizon."""

    deployment: Deployment
    busy_j: float
    busy_s: float
    idle_w: float  # of one replica
    start_s: float
    last_end_s: float
    attainment: float
    ttft_p99_s: float
    tbt_p99_s: float
    mean_batch: float
    requests: int
    refused: int

    def energy_j(self, end_s: float) -> float:
        """Return the joules of all replicas from the first arrival to `end_s`, idle included."""
        quiet_s = self.deployment.replicas * (end_s - self.start_s) - self.busy_s
        return self.busy_j + self.idle_w * max(quiet_s, 0.0)


def saving(baseline: Score, plan: Score) -> float:
    """Return 1 − plan ÷ baseline energy, both charged over one horizon: first arrival to the later last token."""
    end_s = max(baseline.last_end_s, plan.last_end_s)
    return 1.0 - plan.energy_j(end_s) / baseline.energy_j(end_s)


CAUTION = 0.95  # a plan keeps its SLO under all but this quantile of how slow the law may turn out
CAUTION_DRAWS = 200


@dataclass(frozen=True, eq=False)
class Scenario:
    """A workload, its SLO, and the law that serves it."""

    workload: Workload
    slo: Slo
    profile: Profile
    case: Case  # at the maximum clock
    kv_block_tokens: int = 16

    def law(self, deployment: Deployment, given: Draw | None = None) -> NDArray[np.float64]:
        """Return the law of one replica at the deployment's clock, at the best estimate or under a draw."""
        case = replace(self.case, clock_hz=deployment.clock_hz)
        law = self.profile.law(case) if given is None else given.law(case)
        if deployment.power_cap_w is not None:
            law[it.LIMIT_W] = min(law[it.LIMIT_W], deployment.tensor_parallel * deployment.power_cap_w)
        return law

    @cached_property
    def _law_draws(self) -> tuple[Draw, ...]:
        return tuple(draw(self.profile, self.case, np.random.default_rng([n])) for n in range(CAUTION_DRAWS))

    def cautious_draw(self, deployment: Deployment) -> Draw:
        """Return the draw of the law under which a full iteration of `deployment` is slow at the `CAUTION` quantile.

        A full iteration spends its whole token budget on one prompt: it decides the token gaps and most of the TTFT.
        """
        p = float(deployment.max_num_batched_tokens)
        seconds = [it.cost(self.law(deployment, d), p, p * p / 2, 0.0, 0.0)[0] for d in self._law_draws]
        return self._law_draws[int(np.argsort(seconds)[int(CAUTION * (CAUTION_DRAWS - 1))])]

    def replay(
        self,
        deployment: Deployment,
        given: Draw | None = None,
        workload: Workload | None = None,
    ) -> Replay:
        """Replay the workload (or another) on a deployment."""
        law = self.law(deployment, given)
        capacity = self.case.kv_capacity_tokens(deployment.gpu_memory_utilization)
        return fleet.replay(workload or self.workload, deployment, law, capacity, self.kv_block_tokens)

    def score(
        self,
        deployment: Deployment,
        given: Draw | None = None,
        workload: Workload | None = None,
    ) -> Score:
        """Return the score of a deployment by replay."""
        run = self.replay(deployment, given, workload)
        waits = fleet.ttft_s(run)
        parts = [scoring.totals(r.record, r.decoding) for r in run.replicas]
        busy_s = sum(part[0] for part in parts)
        return Score(
            deployment=deployment,
            busy_j=sum(part[1] for part in parts),
            busy_s=busy_s,
            idle_w=float(run.law[it.IDLE_W]),
            start_s=float(run.workload.arrival_s[0]),
            last_end_s=run.last_end_s,
            attainment=fleet.attainment(run, self.slo),
            ttft_p99_s=float(np.quantile(waits, 0.99)) if len(waits) else 0.0,
            tbt_p99_s=fleet.tbt_quantile_s(run, 0.99),
            mean_batch=sum(part[2] for part in parts) / busy_s if busy_s > 0 else 0.0,
            requests=len(run.workload),
            refused=run.refused,
        )
