"""Advice for a workload on a deployment: replay, law, printed effects, and measurements before them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wattlane.core.facts.config import resolve_model
from wattlane.core.facts.engines import engine_defaults
from wattlane.core.facts.gpus import gpu as gpu_named
from wattlane.core.types import Deployment, Slo
from wattlane.core.workload import Workload
from wattlane.model.laws.phase import Case
from wattlane.model.profile import profile_for
from wattlane.plan.advise import by_law, measured, priors, replayed, static_batch
from wattlane.plan.advise.advice import Advice, ranked
from wattlane.plan.advise.static_batch import StaticBatch
from wattlane.plan.scenario import Scenario
from wattlane.plan.search import fewest_replicas_baseline
from wattlane.sim import fleet
from wattlane.workload import load, shape
from wattlane.workload.shaping import names as shape_names

MOST_REPLICAS = 64


@dataclass(frozen=True, eq=False)
class Report:
    """What is now, and what to change, best first."""

    workload: str
    now: Deployment
    attainment: float
    mean_batch: float
    energy_j_per_request: float
    advice: tuple[Advice, ...]
    static: tuple[StaticBatch, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "workload": self.workload,
            "now": asdict(self.now),
            "attainment": self.attainment,
            "mean_batch": self.mean_batch,
            "energy_j_per_request": self.energy_j_per_request,
            "origin": "modelled",
            "boundary": "gpu",
            "advice": [a.as_dict() for a in self.advice],
            "static_batches": [{**asdict(s), "energy_j": s.energy_j} for s in self.static],
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """Return the report in words."""
        d = self.now
        head = (
            f"{self.workload}: {d.replicas} x {d.model} on {d.tensor_parallel} x {d.gpu}, {self.mean_batch:.0f} "
            f"sequences together, {self.energy_j_per_request:.3g} J a request (modelled, GPU), "
            f"{self.attainment:.2%} in time"
        )
        best = static_batch.least([(s.batch, s.energy_j) for s in self.static])
        waste = next(s.waste for s in self.static if s.batch == best)
        tail = f"if your batches are static: {best:.0f} requests a batch take least, {waste:.0%} of it padding"
        return [head, *(f"{i}. {a.line()}" for i, a in enumerate(self.advice, start=1)), tail, *self.notes]


def advise(
    workload: Workload | str | Path,
    *,
    model: str,
    gpu: str = "H100",
    precision: str = "bf16",
    tensor_parallel: int = 1,
    replicas: int | None = None,
    max_num_seqs: int | None = None,
    max_num_batched_tokens: int | None = None,
    slo: Slo | None = None,
    latency_budget_s: float = 0.5,
    campaigns: Sequence[Path] = (),
    seed: int = 0,
) -> Report:
    """Return ranked advice; limits left out are the engine's defaults, replicas the fewest that keep the SLO.

    Raises:
        InputError: a name, a file or a limit is wrong.
        InfeasibleError: no number of replicas keeps the SLO.
        MeasurementError: a campaign has no valid trial.
    """
    own, notes = measured.advise(campaigns) if campaigns else ([], [])
    requests = _requests(workload, seed)
    case = Case(gpu_named(gpu), resolve_model(model), precision, tensor_parallel)
    defaults = engine_defaults("vllm", case.gpu)
    budget = max_num_batched_tokens or defaults.max_num_batched_tokens
    scenario = Scenario(requests, slo or Slo(), profile_for(case.gpu), case, defaults.kv_block_tokens)
    now = Deployment(
        model=case.model.name,
        gpu=case.gpu.name,
        precision=precision,
        tensor_parallel=tensor_parallel,
        replicas=replicas or 1,
        max_num_seqs=max_num_seqs or min(defaults.max_num_seqs, budget),
        max_num_batched_tokens=budget,
        gpu_memory_utilization=defaults.gpu_memory_utilization,
    )
    score = scenario.score(now) if replicas else fewest_replicas_baseline(scenario, now, MOST_REPLICAS)
    account = fleet.ledger(scenario.replay(score.deployment))
    busy_j = account.prefill_j + account.decode_j
    prompt, answer = float(requests.input_tokens.mean()), float(requests.output_tokens.mean())
    batch = score.mean_batch
    law = by_law.advise(scenario.profile, case, batch, prompt, answer, account.prefill_j / busy_j)
    printed = [a for a in (priors.speculative(batch), priors.wider(tensor_parallel)) if a is not None]
    modelled = {(a.knob, a.change) for a in law}
    found = [*own, *replayed.advise(scenario, score.deployment, latency_budget_s), *law]
    found += [a for a in printed if (a.knob, a.change) not in modelled]
    static = static_batch.sizes(scenario.law(now), requests)
    return Report(
        requests.name,
        score.deployment,
        score.attainment,
        batch,
        account.metered_j / len(requests),
        tuple(ranked(found)),
        tuple(static),
        tuple(notes),
    )


def _requests(workload: Workload | str | Path, seed: int) -> Workload:
    if isinstance(workload, Workload):
        return workload
    if not Path(workload).exists() and str(workload) in shape_names():
        return shape(str(workload)).sample(seed)
    return load(Path(workload)).workload
