"""The policies the kernel may use, compiled here and chosen by an integer: a kernel that took a function could not be
cached. The gateway calls the same functions uncompiled."""

from __future__ import annotations

import numpy as np

from wattlane.model.jit import inner, kernel
from wattlane.policy import cap, clock, clock_loop, order, release, route, scale
from wattlane.sim.engine.foresight import foreseen, pool_load, resident_tokens
from wattlane.sim.engine.layout import (
    ACTIVE,
    ARRIVAL_S,
    BALANCE,
    CALM,
    CONTROL_KIND,
    DECREASE,
    FIRSTS,
    INCREASE,
    LAST_LOAD,
    LATE_FIRSTS,
    LATE_TOKENS,
    MARGIN,
    OUTPUT_TOKENS,
    PERIOD_S,
    POOL,
    QUEUED,
    SEATS,
    SETTINGS,
    TBT_S,
    TTFT_S,
    Engine,
)

IMMEDIATE, WINDOWED, SPACED, SLACK_AWARE, DEADLINE_AWARE, LOWEST_CARBON = 0, 1, 2, 3, 4, 5
FIXED_CLOCK, PHASE_CLOCK, LOWEST_FEASIBLE, ENERGY_MINIMUM, GREEN, MIAD = 0, 1, 2, 3, 4, 5
ROUND_ROBIN, LEAST_LOADED, MOST_LOADED, LEAST_ENERGY, PREFIX_AWARE, WATTLANE = 0, 1, 2, 3, 4, 5
FCFS, LENGTH_BUCKETS, KV_ALIGNED, LEAST_LAXITY = 0, 1, 2, 3
PARKING, DYNAMO, POLCA, TAPAS = 0, 1, 10, 11
SLACK, SERVICE, GAIN_J, LATEST_END = 0, 1, 2, 3  # columns of what `hold` is told of requests
MEAN_OVER = 8.0  # arrivals over which their mean gap is taken
TARGET, PRESSURE, LEAST, HYSTERESIS, LATE_SHARE, PATIENCE = (SETTINGS + i for i in range(6))  # of scaling

_immediate = kernel(release.immediate)
_windowed = kernel(release.windowed)
_spaced = kernel(release.spaced)
_slack_aware = kernel(release.slack_aware)
_deadline_aware = kernel(release.deadline_aware)
_lowest_carbon = kernel(release.lowest_carbon)
in_turn = kernel(route.round_robin)
_least_loaded = kernel(route.least_loaded)
_most_loaded = kernel(route.most_loaded)
_least_energy = kernel(route.least_energy)
_prefix_aware = kernel(route.prefix_aware)
_wattlane = kernel(route.wattlane)
_parking = kernel(scale.parking)
_band = kernel(scale.band)
_dynamo = kernel(scale.dynamo)
polca_stage = inner(cap.polca_stage)
heated_c = inner(cap.heated_c)
is_hot = inner(cap.is_hot)
tapas_ceiling = inner(cap.tapas_ceiling)
lowest_feasible = inner(clock.lowest_feasible)
_least_net = inner(clock.least_net)
crowd = inner(clock.crowd)
time_w = inner(clock.time_w)
guard = inner(clock.guard)
_prompt_budget_s = inner(clock.prompt_budget_s)
_backlog_budget_s = inner(clock_loop.backlog_budget_s)
_miad = inner(clock_loop.miad)
_band_step = inner(clock_loop.band_step)
is_late = inner(clock_loop.is_late)
aged = kernel(order.aged)
bucket = kernel(order.bucket)
_kv_distance = kernel(order.kv_distance)


@kernel
def release_times(kind: int, window_s: float, arrival_s: np.ndarray) -> np.ndarray:
    """Return when each request is let through, shape of `arrival_s`."""
    out = np.empty_like(arrival_s)
    for i in range(arrival_s.size):
        if kind == WINDOWED:
            out[i] = _windowed(arrival_s[i], window_s)
        else:
            out[i] = _immediate(arrival_s[i], window_s)
    return out


@kernel
def hold(kind: int, settings: np.ndarray, arrival_s: np.ndarray, told: np.ndarray, series: np.ndarray) -> np.ndarray:
    """Return when each request is let through, (n,), under a rule that looks at requests.

    Args:
        settings: (4,) spacing, margin of seconds, beginning and step of the series.
        told: (n, 4) slack, seconds to the last token alone, joules two of it save together, latest end.
        series: (steps,) gCO2e/kWh.
    """
    out, n = arrival_s.copy(), arrival_s.size
    if kind == SLACK_AWARE:
        _hold_together(out, told)
        return out
    last_s = -np.inf
    for i in range(n):
        if kind == SPACED:
            out[i] = last_s = _spaced(arrival_s[i], last_s, settings[0])
        elif told[i, LATEST_END] < np.inf and kind == DEADLINE_AWARE:
            out[i] = _deadline_aware(arrival_s[i], told[i, LATEST_END], told[i, SERVICE], settings[1])
        elif told[i, LATEST_END] < np.inf:
            latest_s = _deadline_aware(arrival_s[i], told[i, LATEST_END], told[i, SERVICE], settings[1])
            out[i] = _lowest_carbon(arrival_s[i], latest_s, series, settings[2], settings[3])
    return out


@kernel
def _hold_together(out: np.ndarray, told: np.ndarray) -> None:
    """Hold requests for each other: whoever comes while one is held goes with it, by when the first of them must."""
    first, until_s, busy_until_s, gap_s = 0, -np.inf, -np.inf, np.inf
    arrival_s = out.copy()
    for i in range(out.size):
        if i > 0:
            since_s = arrival_s[i] - arrival_s[i - 1]
            gap_s = since_s if gap_s == np.inf else gap_s + (since_s - gap_s) / MEAN_OVER
        if arrival_s[i] <= until_s:
            until_s = min(until_s, arrival_s[i] + max(told[i, SLACK], 0.0))
        else:
            first = i
            until_s = _slack_aware(arrival_s[i], told[i, SLACK], busy_until_s, gap_s, told[i, GAIN_J])
        for j in range(first, i + 1):
            out[j] = until_s
        last = i + 1 == out.size or arrival_s[i + 1] > until_s
        for j in range(first, i + 1 if last else first):
            busy_until_s = max(busy_until_s, until_s + told[j, SERVICE])


@kernel
def routes(replicas: int, requests: int) -> np.ndarray:
    """Return the replica of each request in order of release, shape (requests,)."""
    out = np.empty(requests, np.int64)
    for i in range(requests):
        out[i] = in_turn(i, replicas)
    return out


@inner
def chooses(kind: int, prompts: bool) -> bool:
    """Whether a clock policy looks at what the iteration would take at every clock."""
    return kind in (LOWEST_FEASIBLE, ENERGY_MINIMUM) or (kind == GREEN and prompts)


@inner
def clock_for(
    kind: int,
    trial: np.ndarray,
    dial: float,
    price_w: float,
    gap_s: float,
    prompt_s: float,
    decodes: bool,
    prompts: bool,
) -> int:
    """Return the clock that a policy wants for an iteration.

    Args:
        trial: (3, C) seconds and joules of the iteration at each clock, and seconds if more prompts joined it.
        dial: the level or clock that a control loop has set.
        price_w: what a second is worth.
        gap_s, prompt_s: what the iteration may take for whoever decodes, and for prompts.
    """
    if kind == LOWEST_FEASIBLE:
        return lowest_feasible(trial[0], min(gap_s, prompt_s))
    if kind == ENERGY_MINIMUM:
        return _least_net(trial[0], trial[1], trial[2], price_w, gap_s, prompt_s)
    if kind == MIAD:
        return int(np.ceil(dial)) - 1
    wanted = int(dial) if decodes else 0
    return max(wanted, _least_net(trial[0], trial[1], trial[0], price_w, np.inf, prompt_s)) if prompts else wanted


@inner
def prompt_s(
    kind: int, p: float, need_per_s: float, backlog_tokens: float, slack_s: float, waits: bool, allow: float
) -> float:
    """Return the seconds that an iteration over `p` prompt tokens may take under a clock policy."""
    if kind == GREEN:
        return _backlog_budget_s(p, backlog_tokens, slack_s, allow)
    return _prompt_budget_s(p, need_per_s, waits, allow)


@inner
def next_dial(
    kind: int, dial: float, floor: float, pressed: bool, late: bool, near: bool, rate: np.ndarray, n: int
) -> float:
    """Return what a control loop sets for the next period, of `n` clocks."""
    if kind == MIAD:
        return _miad(dial, pressed, rate[INCREASE], rate[DECREASE], n)
    return float(_band_step(int(dial), int(floor), late, near, n))


@kernel
def needs_state(kind: int) -> bool:
    """Whether a routing policy looks at what the replicas are doing."""
    return kind != ROUND_ROBIN


@kernel
def replica_for(kind: int, eligible: np.ndarray, e: Engine, r: int, now: float) -> int:
    """Return which of the replicas `eligible` (count,) serves request `r`, by what they are doing."""
    count, best = eligible.size, -1
    if count == 1:
        return eligible[0]
    requests = np.empty(count, np.int64)
    for i in range(count):
        requests[i] = e.at[eligible[i], SEATS] + e.at[eligible[i], QUEUED]
    if kind == PREFIX_AWARE:
        found = np.empty(count, np.int64)
        for i in range(count):
            found[i] = resident_tokens(e, eligible[i], r)
        best = _prefix_aware(found, requests, int(e.rates[eligible[0], BALANCE]))
    elif kind != LEAST_LOADED:
        joules, wait_s = np.empty(count), np.empty(count)
        fits, awake = np.empty(count, np.bool_), np.empty(count, np.bool_)
        margin = e.rates[eligible[0], MARGIN] if kind == WATTLANE else 1.0
        for i in range(count):
            gap_s, wait_s[i], joules[i], state = foreseen(e, eligible[i], r, now)
            rates = e.rates[eligible[i]]
            in_time = now - e.real[r, ARRIVAL_S] + wait_s[i] <= margin * rates[TTFT_S]
            fits[i], awake[i] = in_time and gap_s <= margin * rates[TBT_S], state == 0
        if kind == MOST_LOADED:
            best = _most_loaded(requests, fits)
        elif kind == LEAST_ENERGY:
            best = _least_energy(joules, fits)
        else:
            best = _wattlane(joules, requests, fits, awake, wait_s)
    return eligible[best if best >= 0 else _least_loaded(requests)]


@kernel
def score(
    kind: int, prompt: int, wanted: int, kv_tokens: float, decoding: float, batch_kv: float, latest_s: float
) -> float:
    """Return the score of a waiting request, least first: `wanted` is the length bucket that came in before, or −1."""
    if kind == LENGTH_BUCKETS:
        return 0.0 if wanted < 0 or bucket(prompt) == wanted else 1.0
    if kind == KV_ALIGNED:
        return _kv_distance(kv_tokens, decoding, batch_kv)
    return latest_s


@kernel
def active_counts(control: np.ndarray, e: Engine, recent: np.ndarray, past: np.ndarray) -> np.ndarray:
    """Return how many replicas of each pool a controller wants active, (pools,), from the totals of its last period.

    `past` (pools, 2) is what it remembers of each pool, and is brought up to date.
    """
    out = np.zeros(past.shape[0], np.int64)
    for pool in range(out.size):
        waiting = active = size = 0
        firsts = late_firsts = tokens = late_tokens = 0.0
        for rep in range(e.at.shape[0]):
            if e.limits[rep, POOL] == pool:
                size += 1
                active += e.at[rep, ACTIVE]
                waiting += e.at[rep, QUEUED]
                firsts += recent[rep, FIRSTS]
                late_firsts += recent[rep, LATE_FIRSTS]
                tokens += recent[rep, OUTPUT_TOKENS]
                late_tokens += recent[rep, LATE_TOKENS]
        load = pool_load(e, pool, recent, control[PERIOD_S])
        target, pressure, least = control[TARGET], int(control[PRESSURE]), int(control[LEAST])
        if control[CONTROL_KIND] == PARKING:
            out[pool] = _parking(load, target, waiting, active, pressure, least, size)
        else:
            late = late_firsts > control[LATE_SHARE] * firsts or late_tokens > control[LATE_SHARE] * tokens
            distress = late or waiting > pressure * active
            low, high = _band(load, past[pool, LAST_LOAD], target, control[HYSTERESIS])
            past[pool, CALM] = 0.0 if distress or high >= active else past[pool, CALM] + 1.0
            calm, patience = int(past[pool, CALM]), int(control[PATIENCE])
            out[pool] = _dynamo(low, high, distress, calm, patience, active, least, size)
        past[pool, LAST_LOAD] = load
    return out
