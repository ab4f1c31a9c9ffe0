"""Random fleets in which policies have something to decide: equal replicas, short memory, crowds and lulls."""

from __future__ import annotations

import math

import numpy as np

from fleet_scenes import FleetScene, clocking, grid, prompts
from wattlane.core.types import Slo
from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.sim.fleet_types import (
    EngineSettings,
    Failure,
    Fleet,
    Order,
    Pool,
    Release,
    ReleaseKind,
    RestState,
    Routing,
    Scaling,
    ScalingKind,
    Tags,
)


def arrivals(rng: np.random.Generator, n: int, step_s: float) -> np.ndarray:
    """Return lone requests, pairs and crowds; `step_s` is the time of an iteration."""
    gaps_s = rng.exponential(step_s * rng.choice([0.3, 3.0, 12.0]), n)
    lulls = rng.random(n) < 0.15
    return np.cumsum(gaps_s + lulls * step_s * rng.uniform(10, 60, n))


def policy_pools(rng: np.random.Generator, step_s: float, most: int, laws: np.ndarray) -> tuple[Pool, ...]:
    """Return one or two kinds of replicas whose memory may be short; `most` tokens is the largest request."""
    block = int(rng.choice([1, 4]))
    settings = EngineSettings(
        priority=bool(rng.random() < 0.2),
        chunked_prefill=bool(rng.random() < 0.7),
        prefix_cache=bool(rng.random() < 0.4),
        kv_block_tokens=block,
        prefix_block_tokens=block,
        order=list(Order)[int(rng.integers(0, 4))],
        patience_s=float(rng.choice([0.0, 3.0, 20.0, 1e6])) * step_s,
    )
    seqs = int(rng.choice([2, 3, 16]))
    pools = []
    for number in range(int(rng.choice([1, 1, 2]))):
        pools.append(
            Pool(
                laws=laws if number == 0 else grid(rng, len(laws)),
                kv_capacity_tokens=int(rng.choice([most + block, most * 1.5, most * 3, 1e6])),
                replicas=int(rng.integers(1, 5)),
                max_num_seqs=seqs,
                max_num_batched_tokens=seqs + int(rng.choice([20, 160, 1000])),
                settings=settings,
                clocking=clocking(rng),
                rests=(RestState("asleep", 4 * step_s, 3.0, step_s, 4.0, 2 * step_s, 30.0),)[: rng.integers(0, 2)],
            )
        )
    return tuple(pools)


def policy_scene(seed: int, requests: int = 20) -> FleetScene:
    """Return the scenario of a seed."""
    rng = np.random.default_rng([seed, 79])
    n = int(rng.integers(4, requests + 1))
    inputs, outputs = rng.integers(1, rng.choice([30, 150]), n), rng.integers(1, 14, n)
    laws = grid(rng, int(rng.choice([1, 2])))
    top, context = laws[-1], float((inputs + outputs).mean())
    step_s, _ = it.cost(top, 0.0, 0.0, 2.0, 2 * context)
    prompt_s, _ = it.cost(top, float(inputs.max()), 0.5 * float(inputs.max()) ** 2, 0.0, 0.0)
    most = int((inputs + outputs).max())
    pools = policy_pools(rng, step_s, most, laws)
    arrival_s = arrivals(rng, n, step_s)
    at, names = prompts(rng, inputs)
    tags = Tags(
        priority=rng.integers(0, 2, n),
        prefix_at=at,
        prefix_ids=names,
        predicted_tokens=np.maximum(1, np.rint(outputs * rng.uniform(0.6, 1.4, n))).astype(np.int64),
        deadline_s=np.where(rng.random(n) < 0.5, np.inf, step_s * rng.uniform(1, 80, n)),
    )
    slo = Slo(prompt_s * float(rng.uniform(1.5, 5.0)) + step_s, step_s * float(rng.uniform(1.0, 2.0)))
    span_s = float(arrival_s[-1])
    scaling = None
    if rng.random() < 0.5:
        scaling = Scaling(
            list(ScalingKind)[int(rng.integers(0, len(ScalingKind)))],
            period_s=step_s * float(rng.choice([5.0, 30.0])),
            pressure=int(rng.integers(0, 4)),
            patience=int(rng.integers(1, 3)),
            hysteresis=float(rng.choice([0.0, 0.4])),
            target=float(rng.choice([0.3, 0.8])),
        )
    fleet = Fleet(
        pools,
        routing=list(Routing)[int(rng.integers(0, len(Routing)))],
        failures=(Failure(0, span_s * 0.4, span_s * 0.5),)[: rng.integers(0, 2)],
        retry_s=float(rng.choice([0.0, step_s])),
        seed=seed,
        slo=slo,
        release=Release(list(ReleaseKind)[int(rng.choice([0, 3, 3, 4]))], margin=0.95, margin_s=step_s),
        scaling=scaling,
        routing_margin=float(rng.choice([0.7, 1.0])),
        routing_balance=int(rng.choice([1, 3])),
    )
    assert math.isfinite(span_s)
    return FleetScene(Workload(arrival_s, inputs, outputs), tags, fleet)
