"""One replica, stepped: every iteration that begins before a given time."""

from __future__ import annotations

import numpy as np

from wattlane.model.jit import inner
from wattlane.sim.engine.drafting import speculate
from wattlane.sim.engine.iterate import decode, mixed, start_answers
from wattlane.sim.engine.layout import (
    AHEAD,
    BASE,
    BLOCKS_PER_HASH,
    DECODING,
    DRAFTS,
    EVICTABLE,
    FREE,
    GATE,
    ITERATION,
    LAST_PREEMPTION,
    LATE,
    LOG_FULL,
    LORAS,
    LRU_HEAD,
    LRU_TAIL,
    MAX_SEQS,
    MODE,
    NONE,
    NOW,
    PART,
    QUEUED,
    READY,
    RECORD_FULL,
    RESIDENT,
    RESTS,
    RESTS_FULL,
    RUN_HEAD,
    RUNNING,
    SEATS,
    SEGMENTS,
    STATIC,
    STATUS,
    UP_S,
    WAITING_RATIO,
    Engine,
)
from wattlane.sim.engine.order import reorders
from wattlane.sim.engine.padded import form_batch, release_batch, step_batch
from wattlane.sim.engine.queues import leave, next_release_s
from wattlane.sim.engine.schedule import schedule, stop_speculating
from wattlane.sim.engine.segments import close_run, end_answers, held_blocks, settle, unring, vacate, vacate_late
from wattlane.sim.engine.states import down, rest

SETTLE_EVERY = 1 << 15  # iterations after which the running totals start anew
REST_ROWS = 64  # a rest writes at most this many spans


@inner
def _lacks_rows(e: Engine, rep: int) -> int:
    at = e.at[rep]
    if at[ITERATION] >= e.record.shape[1]:
        return RECORD_FULL
    if at[SEGMENTS] + 2 * e.limits[rep, MAX_SEQS] + 2 > e.log.shape[1]:
        return LOG_FULL
    if at[RESTS] + REST_ROWS > e.rests.shape[1]:
        return RESTS_FULL
    return READY


@inner
def _wake(e: Engine, rep: int, until_s: float) -> bool:
    """With nobody running, move to when the next request is served; return whether there is one before `until_s`."""
    run = e.run[rep]
    nxt = next_release_s(e.real, e.queues[rep], -np.inf)
    if max(run[NOW], nxt) >= until_s or nxt == np.inf:
        return False
    if nxt > run[NOW]:
        if run[NOW] == -np.inf:
            run[NOW] = nxt
        rest(e, rep, nxt, True)
    run[GATE] = run[NOW]
    return run[NOW] < until_s


@inner
def advance(e: Engine, rep: int, until_s: float) -> int:
    """Run every iteration of a replica that begins before `until_s`; return `READY`, or which table is full."""
    at, run, limits = e.at[rep], e.run[rep], e.limits[rep]
    if limits[MODE] == STATIC:
        return _advance_static(e, rep, until_s)
    ahead = limits[AHEAD] == 1
    while True:
        lack = _lacks_rows(e, rep)
        if lack != READY:
            return lack
        if at[SEATS] == 0:
            if not _wake(e, rep, until_s):
                return READY
        elif run[NOW] >= until_s:
            return READY
        if at[DECODING] == 0 or at[ITERATION] - at[BASE] >= SETTLE_EVERY:
            settle(e, rep)
        chunks = schedule(e, rep)
        late = at[LATE] != NONE
        if late:
            vacate_late(e, rep)
        if chunks == 0 and at[DECODING] == 0:
            run[GATE] = run[NOW]
            continue
        if limits[DRAFTS] > 0:
            speculate(e, rep, chunks, ahead)
        elif chunks > 0:
            mixed(e, rep, chunks)
        else:
            admit_s = next_release_s(e.real, e.queues[rep], run[GATE]) if at[PART] == NONE else np.inf
            blocked = next_release_s(e.real, e.queues[rep], -np.inf) <= run[GATE]
            one_by_one = (
                late
                or (blocked and reorders(e, rep))
                or at[LAST_PREEMPTION] == at[ITERATION]
                or (at[QUEUED] > 0 and (limits[LORAS] > 0 or limits[MODE] == WAITING_RATIO))
            )
            last = at[BASE] + SETTLE_EVERY
            decode(e, rep, until_s, admit_s, at[ITERATION] + 1 if one_by_one else last, blocked)
        if limits[DRAFTS] == 0 and e.ring[rep, (at[ITERATION] - 1) % e.ring.shape[1]] != NONE:
            end_answers(e, rep, ahead)
        if chunks > 0:
            start_answers(e, rep, chunks, ahead)


@inner
def _advance_static(e: Engine, rep: int, until_s: float) -> int:
    at, run = e.at[rep], e.run[rep]
    while True:
        lack = _lacks_rows(e, rep)
        if lack != READY:
            return lack
        if at[SEATS] == 0:
            if not _wake(e, rep, until_s):
                return READY
            form_batch(e, rep)
            if at[SEATS] == 0:
                continue
        elif run[NOW] >= until_s:
            return READY
        step_batch(e, rep)


@inner
def evict_all(e: Engine, rep: int, until_s: float, watts: float) -> None:
    """Break a replica down until `until_s`: whoever runs on it stops, its cached prefixes are gone.

    Requests that ran keep status `RUNNING` or `PARTIAL` for the caller to collect.
    """
    at, limits = e.at[rep], e.limits[rep]
    if limits[MODE] == STATIC:
        release_batch(e, rep, False)
    while at[RUN_HEAD] != NONE:
        r = at[RUN_HEAD]
        held = held_blocks(e, rep, r)
        if e.ask[r, STATUS] == RUNNING:
            if limits[DRAFTS] > 0:
                stop_speculating(e, rep, r)
            else:
                unring(e, rep, r)
                close_run(e, rep, r, at[ITERATION])
        leave(e.ask, at, r)
        vacate(e, rep, r, held)
    vacate_late(e, rep)
    at[PART] = NONE
    at[LRU_HEAD] = at[LRU_TAIL] = NONE
    at[FREE] += at[EVICTABLE] * limits[BLOCKS_PER_HASH]
    at[EVICTABLE] = 0
    for u in range(e.cache.shape[1]):
        e.cache[rep, u, RESIDENT] = 0
    e.adapters[rep, :, :] = 0
    down(e, rep, until_s, watts)
    e.run[rep, UP_S] = until_s
