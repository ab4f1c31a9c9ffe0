"""One iteration, or many of the same kind: time, joules, whose they are, and the record of it."""

from __future__ import annotations

import numpy as np

from wattlane.model.iteration import EMPTY_J, LIMIT_W, PER_KV_J, PER_KV_S, decode_line, priced
from wattlane.model.jit import inner
from wattlane.sim.engine.blocks import available, take
from wattlane.sim.engine.clocks import (
    begin_decode,
    see_first,
    see_gaps,
    set_clock,
    set_decode_clock,
    steered,
    watches,
)
from wattlane.sim.engine.layout import (
    AHEAD,
    ALL_GRANTED,
    ARRIVAL_S,
    AT_CLOCK,
    BASE,
    BLOCK_TOKENS,
    COMPUTED,
    DECODING,
    DRAFTS,
    END_S,
    FIRSTS,
    FIXED,
    FREE,
    GATE,
    GOAL,
    ITERATION,
    KV_TOKENS,
    LATE_FIRSTS,
    LAW_GROUP,
    LOAD_J,
    LOAD_S,
    LOADS,
    MODE,
    MOMENT,
    NEXT,
    NONE,
    NOW,
    OUTPUT,
    PARTIAL,
    POWER_W,
    PREFILL_J,
    PRODUCED,
    RESERVE,
    RUN_HEAD,
    RUNNING,
    SEG_FIRST,
    SHARED_J,
    SLOPE,
    START_S,
    STATUS,
    TOKENS,
    TTFT_S,
    WAITED,
    WAITING_RATIO,
    Engine,
)
from wattlane.sim.engine.segments import begin_run, close_run, end_answer, held_blocks, unring, write_run


@inner
def _note(row: np.ndarray, now: float, end: float, joules: float, shared_j: float, tokens: int, clock: int) -> None:
    row[START_S], row[END_S], row[SHARED_J] = now, end, shared_j
    row[POWER_W] = joules / (end - now)
    row[TOKENS], row[AT_CLOCK] = tokens, clock


@inner
def write_iteration(
    e: Engine, rep: int, clock: int, seconds: float, joules: float, shared_j: float, tokens: int
) -> None:
    """Record the iteration that begins now and move the clock to its end."""
    at, run = e.at[rep], e.run[rep]
    now = run[NOW]
    end = now + seconds
    _note(e.record[rep, at[ITERATION]], now, end, joules, shared_j, tokens, clock)
    if watches(e.limits[rep]):
        see_gaps(run, e.rates[rep], seconds, tokens)
    run[GATE] = now if e.limits[rep, AHEAD] == 1 else end
    run[NOW] = end
    at[ITERATION] += 1
    at[LOADS] = 0


@inner
def charge_chunks(e: Engine, rep: int, chunks: int, even: float, price_p: float, price_pc: float) -> float:
    """Charge the requests of the prompt chunks of an iteration; return the joules given."""
    given = 0.0
    for j in range(chunks):
        joules = even + e.chunk[rep, j, 0] * price_p + e.chunk[rep, j, 1] * price_pc
        e.real[e.owner[rep, j], PREFILL_J] += joules
        given += joules
    return given


@inner
def mixed(e: Engine, rep: int, chunks: int) -> None:
    """Run one iteration with prompt chunks; under a waiting ratio those that decode pause."""
    at, run, limits = e.at[rep], e.run[rep], e.limits[rep]
    p = pc = 0.0
    for j in range(chunks):
        p += e.chunk[rep, j, 0]
        pc += e.chunk[rep, j, 1]
    pausing = limits[MODE] == WAITING_RATIO
    decoding = 0 if pausing else at[DECODING]
    d, kv_tokens = float(decoding), 0.0 if pausing else run[KV_TOKENS]
    laws, constants = e.laws[limits[LAW_GROUP]], e.constants[limits[LAW_GROUP]]
    load_s = at[LOADS] * e.rates[rep, LOAD_S]
    c = set_clock(e, rep, laws, chunks, p, p, pc, d, kv_tokens, load_s)
    t, joules, c0, price_p, price_pc, price_d, price_k = priced(laws[c], constants[c, EMPTY_J], p, pc, d, kv_tokens)
    even = c0 / (decoding + chunks)
    given = d * (even + price_d) + kv_tokens * price_k + charge_chunks(e, rep, chunks, even, price_p, price_pc)
    i, load_j = at[ITERATION], at[LOADS] * e.rates[rep, LOAD_J]
    write_iteration(e, rep, c, t + load_s, joules + load_j, given + load_j, decoding)
    if pausing:
        _resume_after(e, rep, i)
        at[WAITED] = 0  # a token is decoded before the next prompts
        return
    run[FIXED] += even + price_d
    run[SLOPE] += price_k
    run[MOMENT] += price_k * (i - at[BASE])
    run[KV_TOKENS] += d


@inner
def _resume_after(e: Engine, rep: int, i: int) -> None:
    """Move the runs of all that decode past iteration `i`, in which they paused."""
    ask = e.ask
    r = e.at[rep, RUN_HEAD]
    while r != NONE:
        if ask[r, STATUS] == RUNNING:
            unring(e, rep, r)
            context = ask[r, GOAL] + i - ask[r, SEG_FIRST]
            close_run(e, rep, r, i)
            ask[r, GOAL] = context
            begin_run(e, rep, r, i + 1, context)
        r = ask[r, NEXT]


@inner
def _line(
    laws: np.ndarray, constants: np.ndarray, c: int, d: float
) -> tuple[np.ndarray, float, float, float, bool, float, float, float, float]:
    """Return what iterations of `d` sequences have in common at a clock."""
    law, constant = laws[c], constants[c]
    seconds, joules, price, holds = decode_line(law, constant, d)
    c0 = constant[EMPTY_J]
    return law, seconds, joules, c0 / d + price, holds, constant[PER_KV_S], constant[PER_KV_J], law[LIMIT_W], c0


@inner
def decode(e: Engine, rep: int, until_s: float, admit_s: float, last: int, blocked: bool) -> None:
    """Run iterations that only decode: until one ends a request, lacks a block, is the row before `last`, would begin
    at `until_s` or later, or could let in who is released at `admit_s`.

    With somebody `blocked`, an eviction ends them too: a prompt that loses its hit may need fewer blocks to come in.
    """
    at, run, limits, rates = e.at[rep], e.run[rep], e.limits[rep], e.rates[rep]
    ring, cross, record, cache = e.ring[rep], e.cross[rep], e.record[rep], e.cache[rep]
    d, seen = at[DECODING], watches(limits)
    laws, constants = e.laws[limits[LAW_GROUP]], e.constants[limits[LAW_GROUP]]
    fixed, slope, moment, now, kv_tokens = run[FIXED], run[SLOPE], run[MOMENT], run[NOW], run[KV_TOKENS]
    i, base, gate = at[ITERATION], at[BASE], run[GATE]
    loading_s, loading_j = at[LOADS] * rates[LOAD_S], at[LOADS] * rates[LOAD_J]
    slot, size, reserve, ahead = i % ring.size, limits[BLOCK_TOKENS], limits[RESERVE] == 1, limits[AHEAD] == 1
    lack = (1 - i) % size
    last = min(i + 1 if at[LOADS] > 0 else last, record.shape[0])
    begin_decode(e, rep, laws, constants, float(d))
    steers, c = True, NONE
    while True:
        if steers:
            chosen = set_decode_clock(e, rep, laws, constants, float(d), kv_tokens, i, now, gate, loading_s)
            if chosen != c:
                c = chosen
                law, seconds, joules, line_each, holds, kv_s, kv_j, limit_w, c0 = _line(laws, constants, c, float(d))
            steers = steered(e, rep)
        t, joule = seconds + kv_tokens * kv_s, joules + kv_tokens * kv_j
        each, price_k = line_each, kv_j
        if not holds or joule >= limit_w * t:
            t, joule, _, _, _, price_d, price_k = priced(law, c0, 0.0, 0.0, float(d), kv_tokens)
            each = c0 / d + price_d
        end = now + t + loading_s
        _note(record[i], now, end, joule + loading_j, d * each + kv_tokens * price_k + loading_j, d, c)
        gate = now if ahead else end
        now = end
        fixed, slope, moment = fixed + each, slope + price_k, moment + price_k * (i - base)
        kv_tokens += d
        ended = ring[slot] >= 0
        slot = slot + 1 if slot + 1 < ring.size else 0
        i += 1
        if seen:
            see_gaps(run, rates, t + loading_s, d)
        if ended or now >= until_s or gate >= admit_s or i >= last:
            break
        lack = lack - 1 if lack > 0 else size - 1
        if not reserve and cross[lack] > 0:
            if cross[lack] > at[FREE] and (blocked or cross[lack] > available(at, limits)):
                break
            take(at, limits, cache, cross[lack])
            at[ALL_GRANTED] = i
    run[FIXED], run[SLOPE], run[MOMENT], run[NOW], run[KV_TOKENS] = fixed, slope, moment, now, kv_tokens
    at[WAITED] += i - at[ITERATION]
    at[ITERATION], run[GATE] = i, gate
    at[LOADS] = 0


@inner
def count_first(e: Engine, rep: int, r: int, now: float) -> None:
    """Count the first token of a request, and whether it came later than the target."""
    e.totals[rep, FIRSTS] += 1
    if now - e.real[r, ARRIVAL_S] > e.rates[rep, TTFT_S]:
        e.totals[rep, LATE_FIRSTS] += 1
    if watches(e.limits[rep]):
        see_first(e, rep, r)


@inner
def start_answers(e: Engine, rep: int, chunks: int, ahead: bool) -> None:
    """Let requests whose prompt ended in the iteration just run decode the rest, or end."""
    ask, i = e.ask, e.at[rep, ITERATION] - 1
    for j in range(chunks):
        r = e.owner[rep, j]
        if ask[r, STATUS] != PARTIAL or ask[r, COMPUTED] < ask[r, GOAL]:
            continue
        if ask[r, PRODUCED] == 0:
            count_first(e, rep, r, e.run[rep, NOW])
        ask[r, SEG_FIRST] = i
        drafts = e.limits[rep, DRAFTS]
        if ask[r, PRODUCED] + 1 == ask[r, OUTPUT]:
            held = held_blocks(e, rep, r)
            write_run(e, rep, r, 0 if drafts > 0 else 1)
            ask[r, PRODUCED] += 1
            end_answer(e, rep, r, held, ahead)
            continue
        if drafts > 0:
            write_run(e, rep, r, 0)
            ask[r, PRODUCED] += 1
            ask[r, GOAL] += 1
            begin_run(e, rep, r, i + 1, ask[r, GOAL])
        else:
            begin_run(e, rep, r, i, ask[r, GOAL] + 1)
