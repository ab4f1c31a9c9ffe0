"""The arrays of one stage of a fleet, filled from its pools and requests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.policy import cap
from wattlane.sim import dispatch
from wattlane.sim.capping import CapKind
from wattlane.sim.clocking import ClockKind
from wattlane.sim.engine import layout as lay
from wattlane.sim.engine.layout import Engine, Floats, Ints
from wattlane.sim.fleet_types import Fleet, Order, Pool, Role, ScalingKind, Scheduling, Tags

MODES = {
    Scheduling.CONTINUOUS: lay.CONTINUOUS,
    Scheduling.WAITING_RATIO: lay.WAITING_RATIO,
    Scheduling.STATIC: lay.STATIC,
}
CLOCK_KINDS = {
    ClockKind.LOWEST_FEASIBLE: dispatch.LOWEST_FEASIBLE,
    ClockKind.GREEN: dispatch.GREEN,
    ClockKind.MIAD: dispatch.MIAD,
    ClockKind.ENERGY_MINIMUM: dispatch.ENERGY_MINIMUM,
}
ORDERS = {
    Order.FCFS: dispatch.FCFS,
    Order.LENGTH_BUCKETS: dispatch.LENGTH_BUCKETS,
    Order.KV_ALIGNED: dispatch.KV_ALIGNED,
    Order.LEAST_LAXITY: dispatch.LEAST_LAXITY,
}
FIRST_ROWS = 1 << 19  # pages nobody writes to take no memory
NO_REST = 1e300  # seconds after which a state that pads the table would be entered


def column(values: Ints | None, n: int) -> Ints:
    """Return a column of tags, zeros where it is absent."""
    return np.zeros(n, np.int64) if values is None else np.ascontiguousarray(values, dtype=np.int64)


def prefixes(workload: Workload, fleet: Fleet, tags: Tags) -> tuple[Ints, Ints, int]:
    """Return (where each row's names begin (n + 1,), names numbered from 0, how many there are)."""
    if tags.prefix_at is None or tags.prefix_ids is None:
        return np.zeros(len(workload) + 1, np.int64), np.zeros(0, np.int64), 0
    if not any(pool.settings.prefix_cache for pool in fleet.pools):
        return np.zeros(len(workload) + 1, np.int64), np.zeros(0, np.int64), 0
    numbers, count = tags.numbered
    return np.ascontiguousarray(tags.prefix_at, np.int64), numbers, count


def expected_tokens(workload: Workload, fleet: Fleet, tags: Tags) -> Ints:
    """Return the output tokens that policies count on: as tagged, or foreseen with `length_error`, or the mean."""
    n = len(workload)
    if tags.predicted_tokens is not None:
        return np.ascontiguousarray(tags.predicted_tokens, np.int64)
    if fleet.length_error is None:
        return np.full(n, max(1, round(float(workload.output_tokens.mean()))), np.int64)
    rng = np.random.default_rng([fleet.seed, n])
    wrong, others = rng.random(n) < fleet.length_error, rng.integers(0, n, n)
    return np.where(wrong, workload.output_tokens[others], workload.output_tokens).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Stage:
    """Requests that go to one set of pools: `rows` in order of `release_s` (n,); `split` says whose prompt and answer
    are processed apart."""

    workload: Workload
    fleet: Fleet
    tags: Tags
    names: tuple[Ints, Ints, int]
    pools: list[int]
    release_s: Floats
    split: NDArray[np.bool_]
    start_s: float
    rows: Ints
    latest_s: Floats | None = None

    @property
    def decodes(self) -> bool:
        """Whether requests come with their prompt processed."""
        return self.fleet.pools[self.pools[0]].role is Role.DECODE

    def replicas(self) -> list[tuple[int, Pool]]:
        """Return (number in the fleet, pool) of every replica of the stage."""
        out, number = [], 0
        for i, pool in enumerate(self.fleet.pools):
            if i in self.pools:
                out += [(number + j, pool) for j in range(pool.replicas)]
            number += pool.replicas
        return out

    def members(self) -> Ints:
        """Return where each model may be served, (models, R)."""
        pools = [pool for _, pool in self.replicas()]
        out = np.zeros((max(pool.model for pool in self.fleet.pools) + 1, len(pools)), np.int64)
        out[[pool.model for pool in pools], np.arange(len(pools))] = 1
        return out

    def events(self) -> tuple[Floats, Floats, Ints]:
        """Return failures (f, 3), and when (t,) how many replicas of each pool of the stage (t, pools) are active."""
        place = {number: rep for rep, (number, _) in enumerate(self.replicas())}
        failures = sorted((f.at_s, f.up_s, place[f.replica]) for f in self.fleet.failures if f.replica in place)
        scales = sorted(self.fleet.scales, key=lambda s: s.at_s)
        counts = [[s.active[i] for i in self.pools] for s in scales]
        return (
            np.array(failures, np.float64).reshape(-1, 3),
            np.array([s.at_s for s in scales], np.float64),
            np.array(counts, np.int64).reshape(-1, len(self.pools)),
        )

    def asks(self) -> Ints:
        """Return the requests, (n, ASK_COLUMNS)."""
        w, tags, n = self.workload, self.tags, len(self.workload)
        at, _, _ = self.names
        ask = np.zeros((n, lay.ASK_COLUMNS), np.int64)
        assert w.cached_tokens is not None
        ask[:, lay.INPUT], ask[:, lay.CACHED] = w.input_tokens, w.cached_tokens
        ask[:, lay.OUTPUT] = w.output_tokens
        ask[:, lay.ADAPTER], ask[:, lay.GROUP] = column(tags.adapter, n), column(tags.model, n)
        if tags.priority is not None and any(pool.settings.priority for pool in self.fleet.pools):
            ask[:, lay.LEVEL] = np.unique(tags.priority, return_inverse=True)[1]
        ask[:, lay.PREFIX_AT], ask[:, lay.PREFIX_N] = at[:-1], np.diff(at)
        sizes = [p.settings.prefix_block_tokens for p in self.fleet.pools if p.settings.prefix_cache]
        if sizes:
            ask[:, lay.PREFIX_N] = np.minimum(ask[:, lay.PREFIX_N], w.input_tokens // max(sizes))
        if self.decodes:
            ask[:, lay.HANDOFF] = ask[:, lay.START] = ask[:, lay.PRODUCED] = 1
        else:
            ask[self.split, lay.OUTPUT] = 1
        for name in (lay.NEXT, lay.PREV, lay.AFTER, lay.BEGUN, lay.GRANTED):
            ask[:, name] = lay.NONE
        ask[:, lay.EXPECTED] = expected_tokens(w, self.fleet, tags)
        return ask


def _limits(stage: Stage) -> tuple[Ints, Floats]:
    replicas = stage.replicas()
    limits = np.zeros((len(replicas), lay.LIMIT_COLUMNS), np.int64)
    rates = np.zeros((len(replicas), lay.RATE_COLUMNS))
    pools = [stage.fleet.pools[i] for i in stage.pools]
    for rep, (_, pool) in enumerate(replicas):
        s, row, rate, top = pool.settings, limits[rep], rates[rep], len(pool.laws) - 1
        row[lay.MAX_SEQS], row[lay.MAX_TOKENS] = pool.max_num_seqs, pool.max_num_batched_tokens
        row[lay.CAPACITY], row[lay.BLOCK_TOKENS] = pool.kv_capacity_tokens // s.kv_block_tokens, s.kv_block_tokens
        row[lay.BLOCKS_PER_HASH] = s.prefix_block_tokens // s.kv_block_tokens
        row[lay.MODE] = MODES[s.scheduling]
        row[lay.CHUNKED] = int(s.chunked_prefill and s.scheduling is Scheduling.CONTINUOUS)
        row[lay.RESERVE] = int(s.reserve_kv or s.scheduling is not Scheduling.CONTINUOUS)
        row[lay.AHEAD], row[lay.DRAFTS], row[lay.PREFIX] = s.schedule_ahead, s.draft_tokens, s.prefix_cache
        row[lay.DECODE_CLOCK] = top if pool.decode_clock is None else pool.decode_clock
        row[lay.PREFILL_CLOCK] = top if pool.prefill_clock is None else pool.prefill_clock
        same = row[lay.PREFILL_CLOCK] == row[lay.DECODE_CLOCK]
        row[lay.CLOCK_KIND] = CLOCK_KINDS.get(
            pool.clocking.kind, dispatch.FIXED_CLOCK if same else dispatch.PHASE_CLOCK
        )
        _clocking(pool, row, rate)
        row[lay.LAW_GROUP] = row[lay.POOL] = next(i for i, p in enumerate(pools) if p is pool)
        row[lay.SEED], row[lay.MAX_WAITED] = stage.fleet.seed, s.max_waiting_tokens
        row[lay.LORAS], row[lay.ORDER_KIND] = s.max_loras, ORDERS[s.order]
        rate[lay.PATIENCE_S] = s.patience_s
        rate[lay.ACCEPTANCE], rate[lay.SWITCH_S], rate[lay.CAP_W] = s.acceptance, pool.switch_s, pool.power_cap_w
        _capping(pool, stage.fleet, row, rate)
        rate[lay.LOAD_S], rate[lay.LOAD_J] = s.lora_load_s, s.lora_load_j
        rate[lay.WAITING_SERVED], rate[lay.DOWN_W] = s.waiting_served_ratio, pool.down_w
        slo = stage.fleet.slo
        rate[lay.MARGIN], rate[lay.BALANCE] = stage.fleet.routing_margin, stage.fleet.routing_balance
        rate[lay.TTFT_S], rate[lay.TBT_S] = (np.inf, np.inf) if slo is None else (slo.ttft_s, slo.tbt_s)
    return limits, rates


def controllers(fleet: Fleet, start_s: float) -> Floats:
    """Return the controllers of a fleet, one a row; none ticks before its first period has passed."""
    rows = []
    if fleet.scaling is not None:
        s = fleet.scaling
        kind = {ScalingKind.PARKING: dispatch.PARKING, ScalingKind.DYNAMO: dispatch.DYNAMO}[s.kind]
        late = 0.0 if fleet.slo is None else 1.0 - fleet.slo.attainment
        rows.append(
            [kind, s.period_s, start_s + s.period_s, 0, s.target, s.pressure, s.least, s.hysteresis, late, s.patience]
        )
    c = fleet.capping
    if c is not None and c.is_watched:
        both = [c.period_s, start_s + c.period_s, 0, c.budget_w, c.first, c.release]
        polca, tapas = [c.second, 0.0], [c.limit_c, c.band_c, c.inlet_c, c.c_per_w, c.warm_s]
        rows.append([dispatch.POLCA, *both, *polca] if c.kind is CapKind.POLCA else [dispatch.TAPAS, *both, *tapas])
    out = np.zeros((len(rows), lay.CONTROL_COLUMNS))
    for row, values in zip(out, rows, strict=True):
        row[: len(values)] = values
    return out


def _capping(pool: Pool, fleet: Fleet, row: Ints, rate: Floats) -> None:
    """Fill in what a power budget means for a replica; clocks are in proportion to the rate of products."""
    c, top = fleet.capping, len(pool.laws) - 1
    row[lay.CEILING_LOW] = row[lay.CEILING_ALL] = top
    if c is None:
        return
    if c.kind is CapKind.STATIC:
        gpus = sum(p.gpus * p.replicas for p in fleet.pools)
        rate[lay.CAP_W] = min(rate[lay.CAP_W], cap.static_share_w(c.budget_w, pool.gpus, gpus))
    is_low = any(fleet.pools[i] is pool for i in c.low_pools)
    clocks = pool.laws[:, it.FLOP_PER_S] / pool.laws[-1, it.FLOP_PER_S]
    row[lay.CEILING_LOW] = highest_below(clocks, c.low_first) if is_low else top
    row[lay.CEILING_ALL] = highest_below(clocks, c.low_second if is_low else c.high_second)


def highest_below(clocks: Floats, share: float) -> int:
    """Return the highest of ascending `clocks` that is at most `share`, else the lowest."""
    return max(int(np.searchsorted(clocks, share * (1 + it.ROUNDING), side="right")) - 1, 0)


def _clocking(pool: Pool, row: Ints, rate: Floats) -> None:
    """Fill in what the clock policy of a pool looks at."""
    rule = pool.clocking
    row[lay.CLOCKS], row[lay.SLOW_PERIODS] = len(pool.laws), rule.slow_periods
    rate[lay.ALLOW], rate[lay.NEAR] = rule.allow, rule.allow * (1.0 - rule.hysteresis)
    rate[lay.STEER_S], rate[lay.TAIL] = rule.period_s, rule.tail
    rate[lay.INCREASE], rate[lay.DECREASE], rate[lay.MEMORY_S] = rule.increase, rule.decrease, rule.memory_s


def _laws(pools: list[Pool]) -> tuple[Floats, Floats, Floats, Floats]:
    """Return laws (G, C, N), their constants, draft laws (G, N) and rest states (G, S, 6), padded to equal length."""
    clocks = max(len(pool.laws) for pool in pools)
    laws = np.stack([pool.laws[np.minimum(np.arange(clocks), len(pool.laws) - 1)] for pool in pools])
    constants = np.stack([[it.decode_constants(law) for law in group] for group in laws])
    drafts = np.stack([np.zeros(it.N) if pool.draft_law is None else pool.draft_law for pool in pools])
    states = 1 + max(len(pool.rests) for pool in pools)
    ladder = np.zeros((len(pools), states, 6))
    ladder[:, :, lay.AFTER_S] = NO_REST
    for g, pool in enumerate(pools):
        ladder[g, 0, lay.AFTER_S], ladder[g, 0, lay.WATTS] = 0.0, pool.laws[-1, it.IDLE_W]
        for j, s in enumerate(pool.rests, 1):
            ladder[g, j] = s.after_s, s.power_w, s.entry_s, s.entry_j, s.exit_s, s.exit_j
    return laws, constants, drafts, ladder


def _empty_w(constants: Floats) -> Floats:
    """Return what iterations that serve nobody draw at the clock where it is least (G,); 0 where they take no time."""
    joules, seconds = constants[:, :, it.EMPTY_J], constants[:, :, it.EMPTY_S]
    return np.divide(joules, seconds, out=np.zeros_like(joules), where=seconds > 0).min(axis=1)


def _running(stage: Stage, limits: Ints, rates: Floats, laws: Floats) -> Floats:
    """Return the real numbers of the running state of each replica, before anything happened."""
    run = np.zeros((len(limits), lay.RUN_COLUMNS))
    if stage.fleet.capping is not None:
        run[:, lay.TEMPERATURE_C] = stage.fleet.capping.inlet_c
    run[:, lay.PRICE_W] = laws[limits[:, lay.LAW_GROUP], -1, it.IDLE_W]
    waits = (rates[:, lay.SWITCH_S] > 0) & (rates[:, lay.MEMORY_S] > 0)
    run[:, lay.GUARD] = np.where(waits, limits[:, lay.MAX_TOKENS], 0)
    run[:, lay.DIAL] = limits[:, lay.CLOCKS] - 1 + (limits[:, lay.CLOCK_KIND] == dispatch.MIAD)
    run[:, [lay.NOW, lay.GATE]], run[:, lay.WAKE_S] = stage.start_s, np.inf
    run[:, [lay.UP_S, lay.CLOCK_AT]] = -np.inf
    run[:, lay.PERIOD_AT], run[:, lay.SLOW_AT] = stage.start_s + rates[:, lay.STEER_S], stage.start_s
    return run


def build(stage: Stage) -> Engine:
    """Return the arrays of a stage before anything happened."""
    limits, rates = _limits(stage)
    pools = [stage.fleet.pools[i] for i in stage.pools]
    laws, constants, drafts, ladder = _laws(pools)
    rates[:, lay.EMPTY_W] = _empty_w(constants)[limits[:, lay.LAW_GROUP]]
    ask, replicas = stage.asks(), len(limits)
    n, widest = len(ask), int(limits[:, lay.MAX_SEQS].max())
    at = np.zeros((replicas, lay.AT_COLUMNS), np.int64)
    for name in (lay.LRU_HEAD, lay.LRU_TAIL, lay.RUN_HEAD, lay.RUN_TAIL, lay.PART, lay.LATE):
        at[:, name] = lay.NONE
    at[:, [lay.ALL_GRANTED, lay.LAST_PREEMPTION]] = lay.NONE
    at[:, lay.FREE], at[:, lay.ACTIVE] = limits[:, lay.CAPACITY], 1
    at[:, lay.CLOCK] = at[:, lay.CLOCK_WANTED] = limits[:, lay.DECODE_CLOCK]
    at[:, lay.CEILING] = limits[:, lay.CLOCKS] - 1
    run = _running(stage, limits, rates, laws)
    real = np.zeros((n, lay.REAL_COLUMNS))
    real[:, lay.RELEASE_S], real[:, lay.ARRIVAL_S] = stage.release_s, stage.workload.arrival_s
    if stage.latest_s is not None:
        real[:, lay.LATEST_S] = stage.latest_s
    control = controllers(stage.fleet, stage.start_s)
    slots = max(pool.settings.max_loras for pool in pools)
    each = -(-n // replicas)
    rows = min(FIRST_ROWS, int(ask[:, lay.OUTPUT].sum()) + 4096)
    levels = int(ask[:, lay.LEVEL].max()) + 1
    return Engine(
        ask=ask,
        real=real,
        limits=limits,
        rates=rates,
        laws=laws,
        constants=constants,
        drafts=drafts,
        ladder=ladder,
        at=at,
        run=run,
        ring=np.full((replicas, int(ask[:, lay.OUTPUT].max()) + 2), lay.NONE, np.int64),
        cross=np.zeros((replicas, int(limits[:, lay.BLOCK_TOKENS].max())), np.int64),
        queues=np.full((replicas, levels, 2), lay.NONE, np.int64),
        ids=stage.names[1],
        cache=np.full((replicas, stage.names[2], 4), 0, np.int64),
        adapters=np.zeros((replicas, slots, 3), np.int64),
        owner=np.empty((replicas, widest), np.int64),
        chunk=np.empty((replicas, widest, 2)),
        record=np.empty((replicas, rows, lay.RECORD_COLUMNS)),
        log=np.empty((replicas, 2 * each + 4 * widest + 64, 4), np.int64),
        rests=np.empty((replicas, 4 * each + 256, 4)),
        totals=np.zeros((replicas, lay.TOTAL_COLUMNS)),
        seen=np.zeros((len(control), replicas, lay.TOTAL_COLUMNS)),
        control=control,
        past=np.zeros((len(control), len(pools), 2)),
        decisions=np.empty((len(control), 64, 1 + len(pools))),
        trial=np.zeros((replicas, 6, laws.shape[1])),
    )
