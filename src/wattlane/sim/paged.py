"""Replay a workload on a fleet of paged engines: build the arrays, let the kernels run, keep what happened.

Where prompts and answers are processed in different pools, the prompts are replayed first: a request whose prompt is
done joins the other pool when its KV cache has been moved, and never acts back on the pool it left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.sim import dispatch, holding
from wattlane.sim.engine import layout as lay
from wattlane.sim.engine.arrays import Stage, build, column, prefixes
from wattlane.sim.engine.drive import drive, rest_until
from wattlane.sim.engine.layout import Engine, Floats, Ints
from wattlane.sim.fleet_types import Fleet, Order, Pool, Role, Routing, Tags

KINDS = {
    Routing.ROUND_ROBIN: dispatch.ROUND_ROBIN,
    Routing.LEAST_LOADED: dispatch.LEAST_LOADED,
    Routing.MOST_LOADED: dispatch.MOST_LOADED,
    Routing.LEAST_ENERGY: dispatch.LEAST_ENERGY,
    Routing.PREFIX_AWARE: dispatch.PREFIX_AWARE,
    Routing.WATTLANE: dispatch.WATTLANE,
}


@dataclass(frozen=True, eq=False)
class ReplicaRun:
    """What one replica did: its iterations, its spans without any, and the runs of tokens it produced."""

    pool: Pool
    record: Floats
    log: Ints
    rests: Floats


@dataclass(frozen=True, eq=False)
class FleetRun:
    """A workload as a fleet served it; every energy is modelled. Columns have one value a request, shape (n,).

    `prefill_j` holds recomputation, adapter loads and KV transfers too; `transfer_j` is the part of it that no
    iteration has. `attempts` counts from 0; `lost` are tokens of attempts that a failure ended. `decisions` holds for
    each stage when scaling changed the active replicas, and to how many of each pool, (k, 1 + pools of the stage).
    """

    workload: Workload
    fleet: Fleet
    release_s: Floats
    replicas: tuple[ReplicaRun, ...]
    replica: Ints
    refused: NDArray[np.bool_]
    prefill_j: Floats
    decode_j: Floats
    transfer_j: Floats
    preemptions: Ints
    attempts: Ints
    cached_tokens: Ints
    recomputed_tokens: Ints
    begun_s: Floats
    stage_attempts: tuple[Ints, Ints]
    horizon_s: float
    decisions: tuple[Floats, ...] = ()


def replay(workload: Workload, fleet: Fleet, tags: Tags | None = None, until_s: float = -np.inf) -> FleetRun:
    """Return what `fleet` makes of `workload`; its account ends at `until_s`, or with the last token if that is later.

    Raises:
        InputError: the tags do not fit the workload or the fleet.
    """
    tags = tags or Tags()
    tags.check(workload, fleet)
    release_s = holding.release_s(workload, fleet, tags)
    by_laxity = any(pool.settings.order is Order.LEAST_LAXITY for pool in fleet.pools)
    latest_s = holding.latest_start_s(workload, fleet, tags) if by_laxity else None
    model = column(tags.model, len(workload))
    split = np.isin(model, [pool.model for pool in fleet.pools if pool.role is Role.PREFILL])
    names = prefixes(workload, fleet, tags)
    start_s = float(workload.arrival_s[0])
    first = [i for i, pool in enumerate(fleet.pools) if pool.role is not Role.DECODE]
    rows = holding.order_of(release_s)
    stages = [_run(Stage(workload, fleet, tags, names, first, release_s, split, start_s, rows, latest_s))]
    transfer_j = np.zeros(len(workload))
    second = [i for i, pool in enumerate(fleet.pools) if pool.role is Role.DECODE]
    if second:
        ready_s, transfer_j = _handed_over(stages[0], workload, fleet, model, split)
        rows = np.flatnonzero(np.isfinite(ready_s))
        rows = rows[holding.order_of(ready_s[rows])]
        stages.append(_run(Stage(workload, fleet, tags, names, second, ready_s, split, start_s, rows, latest_s)))
    return _gathered(stages, workload, fleet, release_s, transfer_j, until_s)


def _run(stage: Stage) -> tuple[Stage, Engine]:
    """Let the kernels serve one stage, growing whatever runs full."""
    e = build(stage)
    cursor = np.array([0, 0, 0, lay.NONE, lay.NONE, 0])
    events = stage.events()
    members, kind = stage.members(), KINDS[stage.fleet.routing]
    while True:
        full = drive(e, cursor, stage.rows, members, kind, *events, stage.fleet.retry_s, np.inf)
        if full == lay.READY:
            return stage, e
        e = grown(e, full)


def grown(e: Engine, full: int) -> Engine:
    """Return the engine with twice the rows of the table that is full."""
    name = {lay.RECORD_FULL: "record", lay.LOG_FULL: "log", lay.RESTS_FULL: "rests", lay.DECISIONS_FULL: "decisions"}[
        full
    ]
    old = getattr(e, name)
    larger = np.empty((old.shape[0], old.shape[1] * 2, old.shape[2]), old.dtype)
    larger[:, : old.shape[1]] = old
    return e._replace(**{name: larger})


def _handed_over(
    stage: tuple[Stage, Engine], workload: Workload, fleet: Fleet, model: Ints, split: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Return when each prompt's KV cache has arrived (infinite if there is nothing to decode), and joules of moving."""
    spec, e = stage
    ready_s, joules = np.full(len(workload), np.inf), np.zeros(len(workload))
    moves = split & (workload.output_tokens > 1) & (e.ask[:, lay.STATUS] == lay.DONE)
    per_token = np.zeros(max(pool.model for pool in fleet.pools) + 1)
    for pool in fleet.pools:
        per_token[pool.model] = pool.laws[-1, it.KV_BYTES_PER_TOKEN]
    size = workload.input_tokens * per_token[model]
    for rep in range(len(spec.replicas())):
        log = e.log[rep, : e.at[rep, lay.SEGMENTS]]
        log = log[log[:, lay.TRY] == e.ask[log[:, lay.WHO], lay.ATTEMPT]]
        who = log[:, lay.WHO]
        ready_s[who] = e.record[rep, log[:, lay.FIRST], lay.END_S]
    ready_s = np.where(moves, ready_s + fleet.transfer.latency_s + size / fleet.transfer.bytes_per_s, np.inf)
    joules[moves] = size[moves] * fleet.transfer.byte_j
    return ready_s, joules


def _gathered(
    stages: list[tuple[Stage, Engine]],
    workload: Workload,
    fleet: Fleet,
    release_s: Floats,
    transfer_j: Floats,
    until_s: float,
) -> FleetRun:
    horizon_s = max(until_s, *(float(e.run[:, lay.NOW].max()) for _, e in stages))
    n = len(workload)
    runs: dict[int, ReplicaRun] = {}
    replica = np.zeros(n, np.int64)
    totals = np.zeros((n, 2))
    counts = np.zeros((n, 3), np.int64)
    refused, begun_s = np.zeros(n, bool), np.full(n, np.nan)
    attempts = [np.zeros(n, np.int64), np.zeros(n, np.int64)]
    cached, decided = np.zeros(n, np.int64), list[Floats]()
    for number, (stage, engine) in enumerate(stages):
        e = engine
        while (e.at[:, lay.RESTS] + 64 > e.rests.shape[1]).any():
            e = grown(e, lay.RESTS_FULL)
        rest_until(e, horizon_s)
        loops = zip(e.control, e.decisions, strict=True)
        decided += [d[: int(c[lay.DECIDED])] for c, d in loops if c[lay.CONTROL_KIND] < dispatch.POLCA]
        numbers = stage.replicas()
        for rep, (which, pool) in enumerate(numbers):
            parts = (e.record[rep, : e.at[rep, lay.ITERATION]], e.log[rep, : e.at[rep, lay.SEGMENTS]])
            runs[which] = ReplicaRun(pool, *parts, e.rests[rep, : e.at[rep, lay.RESTS]])
        here = stage.rows
        replica[here] = np.array([which for which, _ in numbers])[e.ask[here, lay.REPLICA]]
        totals[here] += e.real[here][:, [lay.PREFILL_J, lay.DECODE_J]]
        counts[here] += e.ask[here][:, [lay.PREEMPTED, lay.ATTEMPT, lay.RECOMPUTED]]
        attempts[number][here] = e.ask[here, lay.ATTEMPT]
        refused[here] |= e.ask[here, lay.STATUS] == lay.REFUSED
        if number == 0:
            cached = e.ask[:, lay.HIT_TOKENS].copy()
            ok = e.ask[:, lay.BEGUN] != lay.NONE
            begun_s[ok] = e.record[e.ask[ok, lay.REPLICA], e.ask[ok, lay.BEGUN], lay.START_S]
    return FleetRun(
        workload=workload,
        fleet=fleet,
        release_s=release_s,
        replicas=tuple(runs[i] for i in sorted(runs)),
        replica=replica,
        refused=refused,
        prefill_j=totals[:, 0] + transfer_j,
        decode_j=totals[:, 1],
        transfer_j=transfer_j,
        preemptions=counts[:, 0],
        attempts=counts[:, 1],
        cached_tokens=cached,
        recomputed_tokens=counts[:, 2],
        begun_s=begun_s,
        stage_attempts=(attempts[0], attempts[1]),
        horizon_s=horizon_s,
        decisions=tuple(decided),
    )
