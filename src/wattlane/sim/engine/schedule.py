"""What the next iteration processes: the scheduler of vLLM's V1 engine, and the waiting rule of TGI's router.

First every running request is given its next token or chunk, in order of admission; where blocks are short, the last
arrival of the lowest priority gives up all of its own and waits again (preemption by recomputation). Then, unless
somebody was preempted, waiting requests are admitted while tokens of the budget, seats and blocks last.
"""

from __future__ import annotations

import numpy as np

from wattlane.model.jit import inner
from wattlane.sim.engine.blocks import available, blocks, hits, publish, share, take
from wattlane.sim.engine.layout import (
    ADAPTER,
    ADMISSIONS,
    ADMITTED,
    ALL_GRANTED,
    BEGUN,
    BLOCK_TOKENS,
    BLOCKS_PER_HASH,
    CACHED,
    CAPACITY,
    CHUNKED,
    COMPUTED,
    DECODING,
    DRAFTS,
    EVICTABLE,
    FREE,
    FRESH,
    GATE,
    GOAL,
    GRANTED,
    HANDOFF,
    HELD,
    HIT_TOKENS,
    INPUT,
    ITERATION,
    LAST_PREEMPTION,
    LOAD_J,
    LORAS,
    MAX_SEQS,
    MAX_TOKENS,
    MAX_WAITED,
    MODE,
    NEXT,
    NONE,
    OUTPUT,
    PART,
    PARTIAL,
    PREEMPTED,
    PREFILL_J,
    PREFIX,
    PREFIX_N,
    PRODUCED,
    PUBLISH,
    QUEUED,
    RECOMPUTED,
    REFUSED,
    RELEASE_S,
    RESERVE,
    RUN_HEAD,
    RUNNING,
    SEATS,
    SEG_FIRST,
    STATUS,
    WAITED,
    WAITING,
    WAITING_RATIO,
    WAITING_SERVED,
    Engine,
)
from wattlane.sim.engine.order import next_in
from wattlane.sim.engine.queues import drop, join, leave, put_back, use_adapter, victim
from wattlane.sim.engine.segments import begin_run, close_run, held_blocks, unring, vacate, write_run


@inner
def preempt(e: Engine, rep: int, r: int) -> None:
    """Take everything from a running request and let it wait again; its tokens stay produced."""
    ask, at = e.ask, e.at[rep]
    held = held_blocks(e, rep, r)
    processed = ask[r, COMPUTED]
    if ask[r, STATUS] == PARTIAL:
        at[PART] = NONE
    elif e.limits[rep, DRAFTS] > 0:
        processed = ask[r, GOAL] - 1
        stop_speculating(e, rep, r)
    else:
        processed = ask[r, GOAL] + at[ITERATION] - 1 - ask[r, SEG_FIRST]
        unring(e, rep, r)
        close_run(e, rep, r, at[ITERATION])
    leave(ask, at, r)
    vacate(e, rep, r, held)
    ask[r, STATUS] = WAITING
    ask[r, PREEMPTED] += 1
    at[LAST_PREEMPTION] = at[ITERATION]
    ask[r, FRESH] = max(ask[r, FRESH], processed)
    put_back(ask, at, e.queues[rep], r)


@inner
def stop_speculating(e: Engine, rep: int, r: int) -> None:
    """End the run of a request that decodes with drafts; its tokens are counted as they come."""
    at = e.at[rep]
    if at[ITERATION] > e.ask[r, SEG_FIRST]:
        write_run(e, rep, r, at[ITERATION] - e.ask[r, SEG_FIRST])
    at[DECODING] -= 1


@inner
def _needs(e: Engine, rep: int, r: int) -> int:
    """Return the blocks a decoding request lacks for its next iteration."""
    ask, limits = e.ask, e.limits[rep]
    if limits[DRAFTS] > 0:
        return max(blocks(ask[r, GOAL] + limits[DRAFTS], limits) - ask[r, HELD], 0)
    context = ask[r, GOAL] + e.at[rep, ITERATION] - ask[r, SEG_FIRST]
    return 1 if (context - 1) % limits[BLOCK_TOKENS] == 0 else 0


@inner
def _grant_one_by_one(e: Engine, rep: int) -> bool:
    """Give blocks to decoding requests in order of admission; return whether anybody was preempted."""
    ask, at, limits = e.ask, e.at[rep], e.limits[rep]
    preempted = False
    r = at[RUN_HEAD]
    while r != NONE:
        after = ask[r, NEXT]
        need = _needs(e, rep, r) if ask[r, STATUS] == RUNNING else 0
        while need > 0 and available(at, limits) < need:
            worst = victim(ask, at, e.queues[rep])
            if worst == after:
                after = ask[worst, NEXT]
            preempt(e, rep, worst)
            preempted = True
            if worst == r:
                break
        if ask[r, STATUS] == RUNNING:
            take(at, limits, e.cache[rep], need)
            ask[r, GRANTED] = at[ITERATION]
            if limits[DRAFTS] > 0:
                ask[r, HELD] += need
        r = after
    return preempted


@inner
def _grant(e: Engine, rep: int) -> bool:
    """Give every decoding request the blocks of its next token; return whether anybody was preempted."""
    at, limits = e.at[rep], e.limits[rep]
    if limits[RESERVE] == 1 or at[DECODING] == 0:
        return False
    if limits[DRAFTS] == 0:
        need = e.cross[rep, (1 - at[ITERATION]) % limits[BLOCK_TOKENS]]
        if need <= available(at, limits):
            take(at, limits, e.cache[rep], need)
            at[ALL_GRANTED] = at[ITERATION]
            return False
    return _grant_one_by_one(e, rep)


@inner
def _chunk(e: Engine, rep: int, chunks: int, r: int, size: int) -> None:
    """Process the next `size` prompt tokens of a request in this iteration."""
    done = e.ask[r, COMPUTED]
    e.owner[rep, chunks] = r
    e.chunk[rep, chunks, 0] = size
    e.chunk[rep, chunks, 1] = size * float(done) + 0.5 * size * (size + 1.0)
    e.ask[r, COMPUTED] = done + size
    e.ask[r, RECOMPUTED] += max(0, min(done + size, e.ask[r, FRESH]) - done)
    publish(e.ask[r], e.limits[rep], e.ids, e.cache[rep], done + size)


@inner
def _grow_part(e: Engine, rep: int, budget: int) -> tuple[int, bool]:
    """Give the partly prefilled request its next chunk; return (its tokens, whether anybody was preempted)."""
    ask, at, limits = e.ask, e.at[rep], e.limits[rep]
    r, preempted = at[PART], False
    size = min(budget, ask[r, GOAL] - ask[r, COMPUTED])
    if size <= 0:
        return 0, False
    if limits[RESERVE] == 0:
        need = blocks(ask[r, COMPUTED] + size, limits) - blocks(ask[r, COMPUTED], limits)
        while available(at, limits) < need:
            worst = victim(ask, at, e.queues[rep])
            preempt(e, rep, worst)
            preempted = True
            if worst == r:
                return 0, True
        take(at, limits, e.cache[rep], need)
        ask[r, HELD] += need
    _chunk(e, rep, 0, r, size)
    return size, preempted


@inner
def _too_large(request: np.ndarray, limits: np.ndarray) -> bool:
    total = request[INPUT] + request[OUTPUT] + limits[DRAFTS]
    return blocks(total, limits) > limits[CAPACITY] or (limits[CHUNKED] == 0 and total > limits[MAX_TOKENS])


@inner
def _admit(e: Engine, rep: int, level: int, before: int, r: int, chunks: int, budget: int) -> int:
    """Admit a waiting request if tokens and blocks allow; return its tokens of the budget, NONE if it must wait."""
    ask, at, limits, cache = e.ask, e.at[rep], e.limits[rep], e.cache[rep]
    request = ask[r]
    goal = request[INPUT] + request[PRODUCED]
    found = unused = 0
    if limits[PREFIX] == 1 and request[HANDOFF] == 0:
        most = min(request[PREFIX_N], (goal - 1) // (limits[BLOCKS_PER_HASH] * limits[BLOCK_TOKENS]))
        found, unused = hits(request, e.ids, cache, most)
    start = max(found * limits[BLOCKS_PER_HASH] * limits[BLOCK_TOKENS], min(request[CACHED], goal - 1))
    size = goal - start
    if request[HANDOFF] == 1:
        if budget < 1 + limits[DRAFTS]:
            return NONE
        start, size = goal + limits[DRAFTS], 0
    if size > budget:
        if limits[CHUNKED] == 0:
            return NONE
        size = budget
    held = blocks(request[INPUT] + request[OUTPUT] if limits[RESERVE] == 1 else start + size, limits)
    need = held - found * limits[BLOCKS_PER_HASH]
    if at[FREE] + (at[EVICTABLE] - unused) * limits[BLOCKS_PER_HASH] < need:
        return NONE
    drop(ask, at, e.queues[rep], level, before, r)
    share(request, at, e.ids, cache, found)
    take(at, limits, cache, need)
    join(ask, at, r)
    at[SEATS] += 1
    request[ADMITTED] = at[ADMISSIONS]
    at[ADMISSIONS] += 1
    request[GOAL], request[COMPUTED], request[HELD] = goal, min(start, goal), held
    request[PUBLISH] = request[PREFIX_N] if limits[PREFIX] == 1 else 0
    request[STATUS] = PARTIAL
    if request[BEGUN] == NONE:
        request[BEGUN] = at[ITERATION]
    if request[ADAPTER] > 0 and use_adapter(at, e.adapters[rep, : limits[LORAS]], request[ADAPTER]):
        e.real[r, PREFILL_J] += e.rates[rep, LOAD_J]
    if request[HANDOFF] == 1:
        request[HANDOFF] = 0
        begin_run(e, rep, r, at[ITERATION], goal)
        return 1 + limits[DRAFTS]
    if request[PREEMPTED] == 0:
        request[HIT_TOKENS] = start
    _chunk(e, rep, chunks, r, size)
    return size


@inner
def _refuse(e: Engine, rep: int, level: int, before: int, r: int) -> None:
    drop(e.ask, e.at[rep], e.queues[rep], level, before, r)
    e.ask[r, STATUS] = REFUSED


@inner
def _admit_waiting(e: Engine, rep: int, chunks: int, budget: int) -> int:
    """Admit who waits; return the number of chunks of the iteration."""
    at, limits, last = e.at[rep], e.limits[rep], NONE
    while budget > 0 and at[SEATS] < limits[MAX_SEQS] and at[QUEUED] > 0:
        level, before, r = next_in(e, rep, last)
        if r == NONE:
            break
        if _too_large(e.ask[r], limits):
            _refuse(e, rep, level, before, r)
            continue
        decoding = at[DECODING]
        used = _admit(e, rep, level, before, r, chunks, budget)
        if used == NONE:
            break
        budget -= used
        last = r
        if at[DECODING] == decoding:
            chunks += 1
            if e.ask[r, COMPUTED] < e.ask[r, GOAL]:
                at[PART] = r
                break
    return chunks


@inner
def _released(e: Engine, rep: int) -> int:
    """Return how many waiting requests are released."""
    count = 0
    for level in range(e.queues.shape[1]):
        r = e.queues[rep, level, 0]
        while r != NONE and e.real[r, RELEASE_S] <= e.run[rep, GATE]:
            count += 1
            r = e.ask[r, NEXT]
    return count


@inner
def _holds_back(e: Engine, rep: int) -> bool:
    """Whether waiting prompts are too few beside those that decode, and have not waited long enough.

    Prompts are never processed twice in a row while somebody decodes.
    """
    at, limits = e.at[rep], e.limits[rep]
    if at[DECODING] == 0 or at[WAITED] + 1 >= limits[MAX_WAITED]:
        return False
    return at[WAITED] == 0 or _released(e, rep) < int(np.floor(at[DECODING] * e.rates[rep, WAITING_SERVED]))


@inner
def schedule(e: Engine, rep: int) -> int:
    """Fill the next iteration of a replica; return its number of prompt chunks."""
    at, limits = e.at[rep], e.limits[rep]
    chunks, budget, preempted = 0, limits[MAX_TOKENS], False
    if limits[MODE] == WAITING_RATIO:
        if _holds_back(e, rep):
            return 0
    else:
        preempted = _grant(e, rep)
        budget -= at[DECODING] * (1 + limits[DRAFTS])
    if at[PART] != NONE:
        size, more = _grow_part(e, rep, budget)
        preempted = preempted or more
        budget -= size
        if size > 0:
            chunks += 1
            if e.ask[at[PART], COMPUTED] == e.ask[at[PART], GOAL]:
                at[PART] = NONE
    if preempted or at[PART] != NONE or budget <= 0:
        return chunks
    return _admit_waiting(e, rep, chunks, budget)
