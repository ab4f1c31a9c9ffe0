"""Runs of consecutive iterations in which a request decodes, what they cost it, and how they begin and end.

A decoding request is given a token in every iteration of its run, so its share there, C0/active + price_d +
price_k·context, is linear in the iteration and is the difference of three running totals of its replica. A preemption,
a pause for a prompt and the end of the answer close the run; what follows is another one.
"""

from __future__ import annotations

import numpy as np

from wattlane.model.jit import inner
from wattlane.sim.engine.blocks import blocks, give_back
from wattlane.sim.engine.layout import (
    ADAPTER,
    ADMITTED,
    AFTER,
    ALL_GRANTED,
    ATTEMPT,
    BASE,
    BLOCK_TOKENS,
    COMPUTED,
    DECODE_J,
    DECODING,
    DONE,
    DRAFTS,
    FIRST,
    FIXED,
    GOAL,
    GRANTED,
    HELD,
    INPUT,
    ITERATION,
    KV_TOKENS,
    LATE,
    LORAS,
    MARK_FIXED,
    MARK_MOMENT,
    MARK_SLOPE,
    MOMENT,
    NEXT,
    NONE,
    OUTPUT,
    PARTIAL,
    PRODUCED,
    RESERVE,
    RUNNING,
    SEATS,
    SEG_FIRST,
    SEGMENTS,
    SLOPE,
    STATUS,
    STEPS,
    TRY,
    WHO,
    Engine,
)
from wattlane.sim.engine.queues import free_adapter, leave


@inner
def charge(ask: np.ndarray, real: np.ndarray, at: np.ndarray, run: np.ndarray, r: int) -> None:
    """Charge a decoding request what it has cost since its mark, and mark it anew."""
    offset = ask[r, GOAL] - float(ask[r, SEG_FIRST] - at[BASE])
    joules = run[FIXED] - real[r, MARK_FIXED] + offset * (run[SLOPE] - real[r, MARK_SLOPE])
    real[r, DECODE_J] += joules + run[MOMENT] - real[r, MARK_MOMENT]
    real[r, MARK_FIXED], real[r, MARK_SLOPE], real[r, MARK_MOMENT] = run[FIXED], run[SLOPE], run[MOMENT]


@inner
def settle(e: Engine, rep: int) -> None:
    """Charge every decoding request, and count the running totals from here, so that differences stay exact."""
    at, run = e.at[rep], e.run[rep]
    if at[DECODING] > 0 and e.limits[rep, DRAFTS] == 0:
        for slot in range(e.ring.shape[1]):
            r = e.ring[rep, slot]
            while r != NONE:
                charge(e.ask, e.real, at, run, r)
                e.real[r, MARK_FIXED] = e.real[r, MARK_SLOPE] = e.real[r, MARK_MOMENT] = 0.0
                r = e.ask[r, AFTER]
    run[FIXED] = run[SLOPE] = run[MOMENT] = 0.0
    at[BASE] = at[ITERATION]


@inner
def begin_run(e: Engine, rep: int, r: int, first: int, entering: int) -> None:
    """Let a request decode: it has `entering` tokens of context in the next iteration, and gets tokens from `first`.

    GOAL plus the iterations since `first` is its context in any iteration of the run.
    """
    ask, at, run = e.ask, e.at[rep], e.run[rep]
    ask[r, SEG_FIRST] = first
    ask[r, STATUS] = RUNNING
    at[DECODING] += 1
    run[KV_TOKENS] += entering
    if e.limits[rep, DRAFTS] > 0:
        return
    e.real[r, MARK_FIXED], e.real[r, MARK_SLOPE], e.real[r, MARK_MOMENT] = run[FIXED], run[SLOPE], run[MOMENT]
    last = (first + ask[r, OUTPUT] - ask[r, PRODUCED] - 1) % e.ring.shape[1]
    before, here = NONE, e.ring[rep, last]
    while here != NONE and ask[here, ADMITTED] < ask[r, ADMITTED]:  # they end in order of admission
        before, here = here, ask[here, AFTER]
    ask[r, AFTER] = here
    if before == NONE:
        e.ring[rep, last] = r
    else:
        ask[before, AFTER] = r
    e.cross[rep, (ask[r, GOAL] - first) % e.limits[rep, BLOCK_TOKENS]] += 1


@inner
def write_run(e: Engine, rep: int, r: int, steps: int) -> None:
    """Note a run of `steps` iterations in the log."""
    at, log = e.at[rep], e.log[rep]
    row = at[SEGMENTS]
    log[row, WHO], log[row, FIRST], log[row, STEPS] = r, e.ask[r, SEG_FIRST], steps
    log[row, TRY] = e.ask[r, ATTEMPT]
    at[SEGMENTS] = row + 1


@inner
def close_run(e: Engine, rep: int, r: int, next_: int) -> None:
    """End the run of a decoding request before iteration `next_`: charge it and note its tokens."""
    ask, at = e.ask, e.at[rep]
    charge(ask, e.real, at, e.run[rep], r)
    tokens = next_ - ask[r, SEG_FIRST]
    if tokens > 0:
        write_run(e, rep, r, tokens)
    ask[r, PRODUCED] += tokens
    at[DECODING] -= 1
    e.run[rep, KV_TOKENS] -= ask[r, GOAL] + tokens
    e.cross[rep, (ask[r, GOAL] - ask[r, SEG_FIRST]) % e.limits[rep, BLOCK_TOKENS]] -= 1


@inner
def unring(e: Engine, rep: int, r: int) -> None:
    """Take a request whose run is about to be broken off the list of those that end when it would have."""
    ask = e.ask
    slot = (ask[r, SEG_FIRST] + ask[r, OUTPUT] - ask[r, PRODUCED] - 1) % e.ring.shape[1]
    before, here = NONE, e.ring[rep, slot]
    while here != r:
        before, here = here, ask[here, AFTER]
    if before == NONE:
        e.ring[rep, slot] = ask[r, AFTER]
    else:
        ask[before, AFTER] = ask[r, AFTER]


@inner
def held_blocks(e: Engine, rep: int, r: int) -> int:
    """Return the KV blocks of a request that runs, none of its run being closed yet, before the next iteration."""
    ask, limits, i = e.ask, e.limits[rep], e.at[rep, ITERATION]
    if limits[RESERVE] == 1:
        return blocks(ask[r, INPUT] + ask[r, OUTPUT], limits)
    if limits[DRAFTS] > 0:
        return ask[r, HELD]
    if ask[r, STATUS] == PARTIAL:
        return blocks(ask[r, COMPUTED], limits)
    granted = 1 if ask[r, GRANTED] == i or e.at[rep, ALL_GRANTED] == i else 0
    return blocks(ask[r, GOAL] + i - 1 - ask[r, SEG_FIRST] + granted, limits)


@inner
def vacate(e: Engine, rep: int, r: int, held: int) -> None:
    """Return the seat, the blocks and the adapter of a request."""
    ask, at = e.ask, e.at[rep]
    give_back(ask[r], at, e.limits[rep], e.ids, e.cache[rep], held)
    at[SEATS] -= 1
    if ask[r, ADAPTER] > 0:
        free_adapter(at, e.adapters[rep, : e.limits[rep, LORAS]], ask[r, ADAPTER])


@inner
def end_answer(e: Engine, rep: int, r: int, held: int, ahead: bool) -> None:
    """Close a request that got its last token; a scheduler one iteration ahead returns its memory one later."""
    ask, at = e.ask, e.at[rep]
    leave(ask, at, r)
    ask[r, STATUS] = DONE
    if ahead:
        ask[r, HELD] = held
        ask[r, NEXT] = NONE
        last = at[LATE]
        if last == NONE:
            at[LATE] = r
            return
        while ask[last, NEXT] != NONE:
            last = ask[last, NEXT]
        ask[last, NEXT] = r
    else:
        vacate(e, rep, r, held)


@inner
def vacate_late(e: Engine, rep: int) -> None:
    """Return what requests still hold that ended in the iteration before this one was scheduled."""
    at = e.at[rep]
    while at[LATE] != NONE:
        r = at[LATE]
        at[LATE] = e.ask[r, NEXT]
        vacate(e, rep, r, e.ask[r, HELD])


@inner
def end_answers(e: Engine, rep: int, ahead: bool) -> None:
    """Close the requests whose last token came in the iteration just run."""
    i = e.at[rep, ITERATION]
    slot = (i - 1) % e.ring.shape[1]
    r = e.ring[rep, slot]
    e.ring[rep, slot] = NONE
    while r != NONE:
        held = held_blocks(e, rep, r)
        close_run(e, rep, r, i)
        after = e.ask[r, AFTER]
        end_answer(e, rep, r, held, ahead)
        r = after
