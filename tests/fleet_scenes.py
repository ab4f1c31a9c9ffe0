"""Random small fleets that reach every feature of the paged engine."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from sim_scenes import law
from wattlane.core.types import Slo
from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.sim.capping import CapKind, Capping
from wattlane.sim.clocking import Clocking, ClockKind
from wattlane.sim.fleet_types import (
    EngineSettings,
    Failure,
    Fleet,
    Order,
    Pool,
    Release,
    ReleaseKind,
    RestState,
    Role,
    Routing,
    Scale,
    Scaling,
    Scheduling,
    Tags,
    Transfer,
)


@dataclass(frozen=True)
class FleetScene:
    """Requests, what they carry, and who serves them."""

    workload: Workload
    tags: Tags
    fleet: Fleet


def clocking(rng: np.random.Generator) -> Clocking:
    """Return a rule for the clock, its parameters drawn, its periods about as long as a few iterations."""
    return Clocking(
        kind=list(ClockKind)[int(rng.integers(0, 5))],
        margin=float(rng.uniform(0.5, 1.0)),
        z=float(rng.choice([0.0, 2.0])),
        relative_error=0.1,
        period_s=float(rng.choice([0.004, 0.05])),
        slow_periods=int(rng.integers(1, 4)),
        tail=float(rng.choice([0.05, 0.4])),
        hysteresis=float(rng.uniform(0.1, 0.6)),
        increase=float(rng.uniform(1.1, 3.0)),
        decrease=float(rng.choice([0.3, 1.0])),
        memory_s=float(rng.choice([0.0, 0.02, 1.0])),
    )


def capping(rng: np.random.Generator, pools: tuple[Pool, ...]) -> Capping | None:
    """Return a power budget that binds now and then, for a part of the scenes."""
    kind = list(CapKind)[int(rng.integers(0, 3))]
    budget_w = sum(p.replicas * p.laws[-1, it.STATIC_W] for p in pools) * float(rng.uniform(0.3, 1.5))
    low = tuple(int(i) for i in np.flatnonzero(rng.random(len(pools)) < 0.5))
    rule = Capping(
        kind,
        budget_w,
        period_s=float(rng.choice([0.02, 0.1])),
        low_pools=low,
        c_per_w=float(rng.uniform(0.1, 0.4)),
        warm_s=float(rng.choice([0.05, 1.0])),
        low_first=0.7,
        low_second=0.5,
        high_second=0.8,
    )
    apart = any(p.role is not Role.SERVE for p in pools)
    return rule if rng.random() < 0.5 and not (apart and rule.is_watched) else None


def grid(rng: np.random.Generator, clocks: int) -> np.ndarray:
    """Return the laws of a clock grid: slower and lower in power towards its beginning."""
    top = law(rng, experts=rng.random() < 0.3, clipped=rng.random() < 0.3)
    rows = []
    for c in range(clocks):
        share, row = (c + 1) / clocks, top.copy()
        row[[it.FLOP_PER_S, it.ATTENTION_FLOP_PER_S]] *= share
        row[[it.WEIGHT_BYTES_PER_S, it.KV_BYTES_PER_S]] *= min(1.0, share / 0.7)
        for name in ("STATIC_W", "FLOP_J", "HOST_LESS_W", "LAYER_LESS_W"):
            if hasattr(it, name):
                row[getattr(it, name)] *= 0.5 + 0.5 * share
        rows.append(row)
    return np.array(rows)


def settings(
    rng: np.random.Generator, block: int, hashed: int, scheduling: Scheduling, priority: bool
) -> EngineSettings:
    """Return how a pool schedules; every option is drawn."""
    plain = scheduling is Scheduling.CONTINUOUS
    return EngineSettings(
        scheduling=scheduling,
        priority=priority,
        chunked_prefill=bool(rng.random() < 0.8),
        prefix_cache=plain and bool(rng.random() < 0.6),
        reserve_kv=bool(rng.random() < 0.1),
        schedule_ahead=plain and bool(rng.random() < 0.3),
        kv_block_tokens=block,
        prefix_block_tokens=hashed,
        draft_tokens=int(rng.choice([1, 3])) if plain and rng.random() < 0.25 else 0,
        acceptance=float(rng.choice([0.0, 0.4, 0.8, 1.0])),
        max_loras=int(rng.choice([1, 2])) if scheduling is not Scheduling.STATIC and rng.random() < 0.3 else 0,
        lora_load_s=0.003,
        lora_load_j=0.4,
        waiting_served_ratio=float(rng.choice([0.3, 1.2, 3.0])),
        max_waiting_tokens=int(rng.choice([1, 3, 20])),
    )


def pool(rng: np.random.Generator, s: EngineSettings, role: Role, model: int, most: int, one: bool) -> Pool:
    """Return replicas whose memory may be short."""
    seqs = int(rng.choice([1, 2, 4, 32]))
    clocks = int(rng.choice([1, 3, 4]))
    free = s.scheduling is not Scheduling.CONTINUOUS
    budget = (
        int(rng.choice([50, 400, 1000])) if free else seqs * (1 + s.draft_tokens) + int(rng.choice([0, 3, 40, 1000]))
    )
    rests = (RestState("parked", 0.1, 20.0, 0.01, 1.0, 0.02, 2.0), RestState("asleep", 0.5, 3.0, 0.2, 4.0, 0.7, 30.0))
    return Pool(
        laws=grid(rng, clocks),
        kv_capacity_tokens=int(rng.choice([most * 0.8, most + s.kv_block_tokens, most * 1.3, most * 2.5, 1e6])),
        replicas=1 if one else int(rng.integers(1, 4)),
        max_num_seqs=seqs,
        max_num_batched_tokens=budget,
        settings=s,
        role=role,
        model=model,
        prefill_clock=int(rng.integers(0, clocks)),
        decode_clock=int(rng.integers(0, clocks)),
        switch_s=float(rng.choice([0.0, 0.03])),
        power_cap_w=float(rng.choice([math.inf, math.inf, 150.0])),
        draft_law=law(rng, experts=False, clipped=False) if rng.random() < 0.5 else None,
        rests=rests[: int(rng.choice([0, 1, 2]))],
        down_w=float(rng.choice([0.0, 15.0])),
    )


def pools(rng: np.random.Generator, most: int, models: int) -> tuple[Pool, ...]:
    """Return pools that serve `models` models, together or prompts and answers apart."""
    block = int(rng.choice([1, 4, 16]))
    hashed = block * int(rng.choice([1, 3]))
    priority = bool(rng.random() < 0.4)
    out = []
    for model in range(models):
        apart = rng.random() < 0.25
        kinds = [Scheduling.CONTINUOUS] * 6 + [Scheduling.WAITING_RATIO, Scheduling.STATIC]
        for role in (Role.PREFILL, Role.DECODE) if apart else (Role.SERVE,):
            kind = Scheduling.CONTINUOUS if apart else kinds[int(rng.integers(0, 8))]
            out.append(pool(rng, settings(rng, block, hashed, kind, priority), role, model, most, False))
    return tuple(out)


def prompts(rng: np.random.Generator, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the names of hash blocks: prompts share the beginnings of a few texts."""
    counts = rng.integers(0, 8, len(inputs))
    text = rng.integers(0, 3, len(inputs))
    shared = rng.integers(0, 8, len(inputs))
    names: list[int] = []
    for row, count in enumerate(counts):
        for j in range(count):
            names.append(1000 * int(text[row]) + j if j < shared[row] else 10_000 + 100 * row + j)
    return np.concatenate([[0], np.cumsum(counts)]), np.array(names, np.int64)


def controlled(rng: np.random.Generator, s: FleetScene) -> FleetScene:
    """Return the scene with targets and policies that look at them.

    Targets lie where a few sequences and prompts decide whether they are kept.
    """
    w, top = s.workload, s.fleet.pools[0].laws[-1]
    few, context = float(rng.integers(1, 5)), float((w.input_tokens + w.output_tokens).mean())
    gap_s, _ = it.cost(top, rng.choice([0.0, context]), 0.0, few, few * context)
    slo = Slo(gap_s * float(rng.choice([2.0, 10.0, 100.0])), gap_s * float(rng.uniform(0.98, 1.3)))
    routing = list(Routing)[int(rng.integers(0, len(Routing)))]
    fleet = replace(s.fleet, slo=slo, routing=routing, routing_margin=float(rng.choice([0.6, 0.9])))
    fleet = replace(fleet, routing_balance=int(rng.choice([1, 4])))
    if rng.random() < 0.25 and not fleet.scales:
        scaling = Scaling(period_s=float(rng.choice([0.05, 0.2])), pressure=int(rng.integers(0, 3)), target=0.5)
        fleet = replace(fleet, scaling=scaling)
    if routing is Routing.PREFIX_AWARE:
        cached = [replace(p.settings, prefix_cache=p.settings.scheduling is Scheduling.CONTINUOUS) for p in fleet.pools]
        small = [replace(c, kv_block_tokens=4, prefix_block_tokens=4) for c in cached]
        fleet = replace(fleet, pools=tuple(replace(p, settings=c) for p, c in zip(fleet.pools, small, strict=True)))
    tags = s.tags
    if rng.random() < 0.5:
        tags = replace(tags, predicted_tokens=rng.integers(1, 30, len(s.workload)))
    fleet = replace(fleet, pools=tuple(replace(p, clocking=clocking(rng)) for p in fleet.pools))
    fleet = replace(fleet, capping=capping(np.random.default_rng([s.fleet.seed, 80]), fleet.pools))
    kinds = [ReleaseKind.IMMEDIATE] * 4 + list(ReleaseKind)
    kind = kinds[int(rng.integers(0, len(kinds)))]
    hours = tuple(rng.integers(1, 9, 5).astype(float))
    release = Release(kind, 0.4, float(rng.choice([0.01, 0.1])), float(rng.choice([0.3, 0.9])), 0.01, hours, 10.0)
    start_s = float(w.arrival_s[0])
    orders = [Order.FCFS] * 3 + list(Order)
    order = orders[int(rng.integers(0, len(orders)))]
    patience_s = float(rng.choice([0.0, 0.02, 10.0]))
    own = []
    for p in fleet.pools:
        aligned = order is Order.KV_ALIGNED and p.settings.scheduling is Scheduling.STATIC
        own.append(replace(p.settings, order=Order.LENGTH_BUCKETS if aligned else order, patience_s=patience_s))
    fleet = replace(
        fleet, release=release, pools=tuple(replace(p, settings=c) for p, c in zip(fleet.pools, own, strict=True))
    )
    if release.kind in (ReleaseKind.DEADLINE_AWARE, ReleaseKind.CARBON) or rng.random() < 0.3:
        late = np.where(
            rng.random(len(w)) < 0.3, np.inf, rng.choice([0.3, 2.0, 9000.0], len(w)) * rng.uniform(0.5, 1, len(w))
        )
        tags = replace(tags, deadline_s=late, deferrable=rng.random(len(w)) < 0.8)
        if kind is not ReleaseKind.CARBON:
            tags = replace(tags, deadline_s=np.minimum(late, np.where(np.isinf(late), np.inf, 2.0)))
    assert start_s >= 0
    return FleetScene(s.workload, tags, fleet)


def fleet_scene(seed: int, requests: int = 14, longest_output: int = 24) -> FleetScene:
    """Return the scenario of a seed."""
    rng = np.random.default_rng([seed, 77])
    n = int(rng.integers(2, requests + 1))
    inputs = rng.integers(1, rng.choice([8, 60, 200]), n)
    outputs = np.where(rng.random(n) < 0.15, 1, rng.integers(1, longest_output + 1, n))
    cached = np.where(rng.random(n) < 0.2, rng.integers(0, inputs + 1), 0)
    arrival_s = np.sort(rng.uniform(0.0, rng.choice([0.02, 0.3, 3.0]), n)) + rng.choice([0.0, 1000.0])
    models = 1 if rng.random() < 0.8 else 2
    at, names = prompts(rng, inputs)
    tags = Tags(
        priority=rng.integers(0, 3, n),
        adapter=rng.integers(0, 4, n),
        model=rng.integers(0, models, n),
        prefix_at=at,
        prefix_ids=names,
    )
    chosen = pools(rng, int((inputs + outputs).max()), models)
    replicas = sum(p.replicas for p in chosen)
    start_s, span_s = float(arrival_s[0]), float(np.ptp(arrival_s)) + 0.5
    failures = []
    for _ in range(int(rng.choice([0, 0, 1, 2]))):
        at_s = start_s + span_s * rng.random()
        failures.append(Failure(int(rng.integers(0, replicas)), at_s, at_s + 0.3 * rng.random()))
    scales = []
    if rng.random() < 0.2:
        for _ in range(2):
            scales.append(Scale(start_s + span_s * rng.random(), tuple(int(rng.integers(0, 3)) for _ in chosen)))
    more = np.random.default_rng([seed, 78])
    return controlled(
        more,
        FleetScene(
            Workload(arrival_s, inputs, outputs, cached),
            tags,
            Fleet(
                chosen,
                transfer=Transfer(0.004, 1e9, 1e-9),
                failures=tuple(failures),
                scales=tuple(scales),
                retry_s=float(rng.choice([0.0, 0.05])),
                seed=seed,
            ),
        ),
    )
