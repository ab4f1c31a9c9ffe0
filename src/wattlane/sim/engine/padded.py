"""Static batching: a batch is formed of who waits, padded to its longest prompt and answer, and kept until it ends.

Every row is processed as if it had the longest prompt, and decodes until the longest answer is done, so all pay the
same. A padding token is never an output token; a request's tokens are stamped when they are produced. Memory for the
padded length is taken when the batch is formed.
"""

from __future__ import annotations

from wattlane.model.iteration import EMPTY_J, priced
from wattlane.model.jit import inner
from wattlane.sim import dispatch
from wattlane.sim.engine.blocks import blocks
from wattlane.sim.engine.clocks import set_clock
from wattlane.sim.engine.iterate import count_first, write_iteration
from wattlane.sim.engine.layout import (
    BEGUN,
    CAPACITY,
    DECODE_J,
    DONE,
    FREE,
    INPUT,
    ITERATION,
    KV_TOKENS,
    LAW_GROUP,
    MAX_SEQS,
    NEXT,
    NONE,
    NOW,
    ORDER_KIND,
    OUTPUT,
    PAD_IN,
    PAD_OUT,
    PREFILL_J,
    PRODUCED,
    QUEUED,
    REFUSED,
    RUN_HEAD,
    RUNNING,
    SEATS,
    SEG_FIRST,
    STATUS,
    STEP,
    Engine,
)
from wattlane.sim.engine.order import next_in
from wattlane.sim.engine.queues import drop, join, leave
from wattlane.sim.engine.segments import write_run


@inner
def form_batch(e: Engine, rep: int) -> None:
    """Fill the seats with who waits, in order, as long as the padded batch fits into memory."""
    ask, at, limits = e.ask, e.at[rep], e.limits[rep]
    at[STEP] = at[PAD_IN] = at[PAD_OUT] = 0
    last, of_one_bucket = NONE, limits[ORDER_KIND] == dispatch.LENGTH_BUCKETS
    while at[SEATS] < limits[MAX_SEQS] and at[QUEUED] > 0:
        level, before, r = next_in(e, rep, last)
        if r == NONE or (
            last != NONE and of_one_bucket and dispatch.bucket(ask[r, INPUT]) != dispatch.bucket(ask[last, INPUT])
        ):
            break
        pad_in, pad_out = max(at[PAD_IN], ask[r, INPUT]), max(at[PAD_OUT], ask[r, OUTPUT])
        need = (at[SEATS] + 1) * blocks(pad_in + pad_out, limits)
        if need > limits[CAPACITY] and at[SEATS] > 0:
            break
        drop(ask, at, e.queues[rep], level, before, r)
        if need > limits[CAPACITY]:
            ask[r, STATUS] = REFUSED
            continue
        join(ask, at, r)
        last = r
        at[SEATS] += 1
        at[PAD_IN], at[PAD_OUT] = pad_in, pad_out
        at[FREE] = limits[CAPACITY] - need
        ask[r, STATUS] = RUNNING
        ask[r, BEGUN] = ask[r, SEG_FIRST] = at[ITERATION]


@inner
def step_batch(e: Engine, rep: int) -> None:
    """Run the next iteration of the batch; the last one ends it."""
    ask, at, limits = e.ask, e.at[rep], e.limits[rep]
    rows, prefills = at[SEATS], at[STEP] == 0
    p = rows * float(at[PAD_IN]) if prefills else 0.0
    pc = p * 0.5 * (at[PAD_IN] + 1.0)
    d = 0.0 if prefills else float(rows)
    kv_tokens = d * (at[PAD_IN] + at[STEP])
    laws, constants = e.laws[limits[LAW_GROUP]], e.constants[limits[LAW_GROUP]]
    if prefills:
        r = at[RUN_HEAD]
        for j in range(rows):
            e.owner[rep, j] = r
            r = ask[r, NEXT]
    c = set_clock(e, rep, laws, rows if prefills else 0, p, p, pc, d, kv_tokens, 0.0)
    t, joules, _, _, _, _, _ = priced(laws[c], constants[c, EMPTY_J], p, pc, d, kv_tokens)
    column, tokens = PREFILL_J if prefills else DECODE_J, 0
    at[STEP] += 1
    r = at[RUN_HEAD]
    while r != NONE:
        e.real[r, column] += joules / rows
        if ask[r, PRODUCED] < ask[r, OUTPUT]:
            ask[r, PRODUCED] += 1
            tokens += 0 if prefills else 1
        r = ask[r, NEXT]
    e.run[rep, KV_TOKENS] = kv_tokens
    write_iteration(e, rep, c, t, joules, joules, tokens)
    for j in range(rows if prefills else 0):
        count_first(e, rep, e.owner[rep, j], e.run[rep, NOW])
    if at[STEP] == at[PAD_OUT]:
        release_batch(e, rep, True)


@inner
def release_batch(e: Engine, rep: int, done: bool) -> None:
    """Note what every row of the batch produced, and empty the seats."""
    ask, at = e.ask, e.at[rep]
    while at[RUN_HEAD] != NONE:
        r = at[RUN_HEAD]
        leave(ask, at, r)
        if ask[r, PRODUCED] > 0:
            write_run(e, rep, r, ask[r, PRODUCED])
        if done:
            ask[r, STATUS] = DONE
    at[SEATS], at[FREE] = 0, e.limits[rep, CAPACITY]
