"""What policies see of the replicas: their batch, their queue and what the law foresees for one more request."""

from __future__ import annotations

import numpy as np

from wattlane.model.jit import inner, kernel
from wattlane.policy import foresee
from wattlane.sim.engine.blocks import hits
from wattlane.sim.engine.layout import (
    AFTER_S,
    ARRIVALS,
    BLOCK_TOKENS,
    BLOCKS_PER_HASH,
    CAPACITY,
    COMPUTED,
    DECODING,
    DRAFTS,
    EXIT_J,
    EXIT_S,
    EXPECTED,
    EXPECTED_TOKENS,
    GOAL,
    HANDOFF,
    INPUT,
    KV_TOKENS,
    LAW_GROUP,
    MAX_SEQS,
    MAX_TOKENS,
    MODE,
    NEXT,
    NONE,
    NOW,
    PAD_IN,
    PART,
    POOL,
    PREFIX,
    PREFIX_N,
    PROMPT_TOKENS,
    QUEUED,
    QUEUED_TOKENS,
    RUN_HEAD,
    RUNNING,
    SEATS,
    STATIC,
    STATUS,
    STEP,
    TBT_S,
    WAKE_S,
    Engine,
)
from wattlane.sim.engine.queues import waiting_tokens


@inner
def batch(e: Engine, rep: int) -> tuple[float, float]:
    """Return (sequences that decode, their KV tokens) of the iteration to come."""
    at, limits = e.at[rep], e.limits[rep]
    if limits[MODE] == STATIC:
        rows = float(at[SEATS])
        return rows, rows * (at[PAD_IN] + at[STEP])
    if limits[DRAFTS] == 0:
        return float(at[DECODING]), e.run[rep, KV_TOKENS]
    kv_tokens, r = 0.0, at[RUN_HEAD]
    while r != NONE:
        if e.ask[r, STATUS] == RUNNING:
            kv_tokens += e.ask[r, GOAL]
        r = e.ask[r, NEXT]
    return float(at[DECODING]), kv_tokens


@inner
def depth(e: Engine, rep: int, now: float) -> int:
    """Return in which state of rest a replica is, 0 where it idles or works."""
    run = e.run[rep]
    if e.at[rep, SEATS] + e.at[rep, QUEUED] > 0:
        return 0
    since_s = run[WAKE_S] if run[NOW] <= run[WAKE_S] < now else run[NOW]
    ladder, state = e.ladder[e.limits[rep, LAW_GROUP]], 0
    while state + 1 < ladder.shape[0] and since_s + ladder[state + 1, AFTER_S] < now:
        state += 1
    return state


@inner
def foreseen(e: Engine, rep: int, r: int, now: float) -> tuple[float, float, float, int]:
    """Return (longest gap, seconds to the first token, marginal joules, state of rest) of a request on a replica.

    The seconds are infinite where seats or KV memory do not suffice.
    """
    ask, at, limits, run = e.ask, e.at[rep], e.limits[rep], e.run[rep]
    law = e.laws[limits[LAW_GROUP], -1]
    decoding, kv_tokens = batch(e, rep)
    own = float(waiting_tokens(ask, r))
    prompts, tokens = at[QUEUED] + 1.0, at[QUEUED_TOKENS] + own
    if at[PART] != NONE:
        prompts += 1.0
        tokens += ask[at[PART], GOAL] - ask[at[PART], COMPUTED]
    expected = float(ask[r, EXPECTED])
    gap_s, first_s = foresee.latencies(law, limits[MAX_TOKENS], decoding, kv_tokens, prompts, tokens)
    joules = foresee.marginal_j(law, limits[MAX_TOKENS], decoding, kv_tokens, own, expected)
    state = depth(e, rep, now)
    ladder = e.ladder[limits[LAW_GROUP], state]
    first_s += max(run[NOW] - now, 0.0) + (ladder[EXIT_S] if state > 0 else 0.0)
    joules += ladder[EXIT_J] if state > 0 else 0.0
    held = kv_tokens + tokens + expected
    if decoding + prompts > limits[MAX_SEQS] or held > limits[CAPACITY] * limits[BLOCK_TOKENS]:
        first_s = np.inf
    return gap_s, first_s, joules, state


@inner
def resident_tokens(e: Engine, rep: int, r: int) -> int:
    """Return how many tokens of a prompt a replica has in its prefix cache."""
    limits, request = e.limits[rep], e.ask[r]
    if limits[PREFIX] == 0 or request[HANDOFF] == 1:
        return 0
    size = limits[BLOCKS_PER_HASH] * limits[BLOCK_TOKENS]
    most = min(request[PREFIX_N], (request[INPUT] - 1) // size)
    return hits(request, e.ids, e.cache[rep], most)[0] * size


@kernel
def pool_load(e: Engine, pool: int, recent: np.ndarray, period_s: float) -> float:
    """Return the load of a pool in the last period, replica-seconds a second by its law."""
    load = requests = prompts = outputs = 0.0
    one = 0
    for rep in range(e.at.shape[0]):
        if e.limits[rep, POOL] == pool:
            one = rep
            requests += recent[rep, ARRIVALS]
            prompts += recent[rep, PROMPT_TOKENS]
            outputs += recent[rep, EXPECTED_TOKENS]
    if requests > 0:
        law, prompt, output = e.laws[e.limits[one, LAW_GROUP], -1], prompts / requests, outputs / requests
        most = e.limits[one, CAPACITY] * e.limits[one, BLOCK_TOKENS] // int(prompt + output + 1.0)
        most = max(1, min(e.limits[one, MAX_SEQS], most))
        load = requests / period_s * foresee.replica_seconds(law, prompt, output, e.rates[one, TBT_S], most)
    return load
