"""At which clock an iteration runs: an index into the laws of a replica, ascending, and when a change takes effect.

A change of clock takes `SWITCH_S` from when it is asked for; iterations that begin before run at the old clock. Of the
fixed clocks, asking for another one within that time starts anew; a policy decides again when the change is through. A
power cap is kept by the board itself, at once: it lowers the clock to the highest one at which the iteration stays
within the cap, or to the lowest there is.

What a policy sees of prompts that are pending is `pressure`: those of the iteration, then who waits, as far as `LOOK`.
"""

from __future__ import annotations

import numpy as np

from wattlane.model.iteration import (
    FLOP_PER_PREFILL_TOKEN,
    FLOP_PER_S,
    IDLE_W,
    LIMIT_W,
    PER_KV_J,
    PER_KV_S,
    cost,
    decode_line,
)
from wattlane.model.jit import inner
from wattlane.sim import dispatch
from wattlane.sim.engine.layout import (
    ALLOW,
    ARRIVAL_S,
    CACHED,
    CAP_W,
    CEILING,
    CLOCK,
    CLOCK_AT,
    CLOCK_KIND,
    CLOCK_WANTED,
    CLOCKS,
    COMPUTED,
    CROWD,
    CROWD_LAST,
    DECODE_CLOCK,
    DIAL,
    EMPTY_W,
    END_S,
    FIRSTS_LATE,
    FIRSTS_SEEN,
    FLOOR,
    GAPS,
    GAPS_LATE,
    GAPS_NEAR,
    GATE,
    GOAL,
    GUARD,
    HANDOFF,
    HOLDS,
    INPUT,
    ITERATION,
    JOINED_S,
    JOULES,
    LAW_GROUP,
    LINE_J,
    LINE_S,
    MEMORY_S,
    NEAR,
    NEXT,
    NONE,
    NOW,
    PART,
    PERIOD_AT,
    PREFILL_CLOCK,
    PRICE_W,
    PRODUCED,
    PROMPT_S,
    RELEASE_S,
    SECONDS,
    SLOW_AT,
    SLOW_PERIODS,
    START_S,
    STEER_S,
    SWITCH_S,
    TAIL,
    TBT_S,
    TTFT_S,
    Engine,
)
from wattlane.sim.engine.queues import next_release_s

LOOK = 64  # waiting requests that a policy looks at


@inner
def capped(laws: np.ndarray, highest: int, cap_w: float, p: float, pc: float, d: float, k: float) -> int:
    """Return the highest clock, `highest` at most, at which an iteration over (p, pc, d, k) draws `cap_w` or less."""
    for c in range(highest, 0, -1):
        seconds, joules = cost(laws[c], p, pc, d, k)
        if joules <= cap_w * seconds:
            return c
    return 0


@inner
def _pressed(need_per_s: float, slack_s: float, tokens: float, until_s: float) -> tuple[float, float]:
    """Return (rate, slack) of pending prompts with one more, whose first token comes after `tokens`."""
    rate = tokens / until_s if until_s > 0.0 else np.inf
    return max(need_per_s, rate), min(slack_s, until_s)


@inner
def pressure(e: Engine, rep: int, chunks: int, p: float, now: float, gate: float) -> tuple[float, float, float, bool]:
    """Return (tokens a second that every pending prompt asks for, tokens pending, slack of the oldest, who waits)."""
    ask, real, ttft_s = e.ask, e.real, e.rates[rep, TTFT_S]
    need_per_s, tokens, slack_s, looked = 0.0, p, np.inf, 0
    for j in range(chunks):
        r = e.owner[rep, j]
        left = ask[r, GOAL] - ask[r, COMPUTED]
        if ask[r, PRODUCED] == 0:
            until_s = real[r, ARRIVAL_S] + ttft_s - now
            need_per_s, slack_s = _pressed(need_per_s, slack_s, p + left, until_s)
        tokens += left
    waits = chunks == 0 and e.at[rep, PART] != NONE
    for level in range(e.queues.shape[1]):
        r = e.queues[rep, level, 0]
        while r != NONE and real[r, RELEASE_S] <= gate and looked < LOOK:
            waits = True
            looked += 1
            if ask[r, HANDOFF] == 0:
                tokens += max(ask[r, INPUT] - ask[r, CACHED], 1) + ask[r, PRODUCED]
            if ask[r, PRODUCED] == 0:
                until_s = real[r, ARRIVAL_S] + ttft_s - now
                need_per_s, slack_s = _pressed(need_per_s, slack_s, tokens, until_s)
            r = ask[r, NEXT]
    return need_per_s, tokens, slack_s, waits


@inner
def watches(limits: np.ndarray) -> bool:
    """Whether the clock policy counts gaps and first tokens that come late."""
    return limits[CLOCK_KIND] >= dispatch.GREEN


@inner
def see_gaps(run: np.ndarray, rates: np.ndarray, seconds: float, tokens: int) -> None:
    """Count the gaps that end with an iteration of `seconds`, one a token."""
    run[GAPS] += tokens
    if seconds > rates[NEAR] * rates[TBT_S]:
        run[GAPS_NEAR] += tokens
    if seconds > rates[ALLOW] * rates[TBT_S]:
        run[GAPS_LATE] += tokens


@inner
def see_first(e: Engine, rep: int, r: int) -> None:
    """Count the first token of a request, which came now."""
    run, rates = e.run[rep], e.rates[rep]
    run[FIRSTS_SEEN] += 1
    if run[NOW] - e.real[r, ARRIVAL_S] > rates[ALLOW] * rates[TTFT_S]:
        run[FIRSTS_LATE] += 1


@inner
def _tick(
    e: Engine, rep: int, laws: np.ndarray, chunks: int, p: float, d: float, k: float, now: float, gate: float
) -> None:
    """Let the control loop of a replica act where its period is over."""
    run, rates, limits = e.run[rep], e.rates[rep], e.limits[rep]
    kind, clocks = limits[CLOCK_KIND], limits[CLOCKS]
    if kind == dispatch.GREEN and d > 0.0 and now >= run[SLOW_AT]:
        seconds = e.trial[rep, SECONDS, :clocks]
        for c in range(clocks):
            seconds[c] = cost(laws[c], 0.0, 0.0, d, k)[0]
        run[FLOOR] = dispatch.lowest_feasible(seconds, rates[ALLOW] * rates[TBT_S])
        run[SLOW_AT] = now + limits[SLOW_PERIODS] * rates[STEER_S]
    if now < run[PERIOD_AT]:
        return
    late = dispatch.is_late(run[GAPS_LATE], run[GAPS], rates[TAIL])
    near = dispatch.is_late(run[GAPS_NEAR], run[GAPS], rates[TAIL]) or run[GAPS] == 0.0
    _, _, slack_s, _ = pressure(e, rep, chunks, p, now, gate)
    pressed = late or dispatch.is_late(run[FIRSTS_LATE], run[FIRSTS_SEEN], rates[TAIL])
    pressed = pressed or slack_s < (1.0 - rates[ALLOW]) * rates[TTFT_S]
    run[DIAL] = dispatch.next_dial(kind, run[DIAL], run[FLOOR], pressed, late, near, rates, clocks)
    run[PERIOD_AT] = now + rates[STEER_S]
    run[GAPS] = run[GAPS_NEAR] = run[GAPS_LATE] = run[FIRSTS_SEEN] = run[FIRSTS_LATE] = 0.0


@inner
def _price(e: Engine, rep: int, i: int, d: float, prompts: float, now: float) -> None:
    """Work out what a second is worth, and what may join, as of iteration `i`, in which `d` decode; it begins now."""
    run, limits, rates = e.run[rep], e.limits[rep], e.rates[rep]
    if rates[MEMORY_S] > 0.0 and i > 0:
        last = e.record[rep, i - 1]
        seconds, rested_s = last[END_S] - last[START_S], max(0.0, now - last[END_S])
        if rates[SWITCH_S] > 0.0:
            run[GUARD] = dispatch.guard(run[GUARD], prompts, seconds + rested_s, rates[MEMORY_S])
        run[CROWD] = dispatch.crowd(run[CROWD], run[CROWD_LAST], seconds, rested_s, rates[MEMORY_S])
    run[CROWD_LAST] = d
    rest_w = e.laws[limits[LAW_GROUP], limits[CLOCKS] - 1, IDLE_W]
    run[PRICE_W] = dispatch.time_w(run[CROWD], rates[EMPTY_W], rest_w)


@inner
def _under_way(e: Engine, rep: int, now: float) -> bool:
    """Whether a change of clock is under way, which a policy waits for; one that is through is noted."""
    at = e.at[rep]
    if now >= e.run[rep, CLOCK_AT]:
        at[CLOCK] = at[CLOCK_WANTED]
    return at[CLOCK] != at[CLOCK_WANTED]


@inner
def _set(
    e: Engine, rep: int, laws: np.ndarray, wanted: int, now: float, p: float, pc: float, d: float, k: float
) -> int:
    """Ask for a clock, and return the one at which the iteration over (p, pc, d, k) runs that begins now."""
    at, run, rates = e.at[rep], e.run[rep], e.rates[rep]
    wanted = min(wanted, at[CEILING])
    if wanted != at[CLOCK_WANTED]:
        at[CLOCK_WANTED] = wanted
        run[CLOCK_AT] = now + rates[SWITCH_S]
    if now >= run[CLOCK_AT]:
        at[CLOCK] = at[CLOCK_WANTED]
    if rates[CAP_W] < np.inf:
        return capped(laws, at[CLOCK], rates[CAP_W], p, pc, d, k)
    return at[CLOCK]


@inner
def _try(e: Engine, rep: int, laws: np.ndarray, c: int, seconds: float, joules: float, prompts: float) -> None:
    """Note what the next iteration, with `prompts` tokens of them, would take at clock `c`."""
    trial, more = e.trial[rep], max(0.0, e.run[rep, GUARD] - prompts)
    trial[SECONDS, c], trial[JOULES, c] = seconds, joules
    trial[JOINED_S, c] = seconds + more * laws[c, FLOP_PER_PREFILL_TOKEN] / laws[c, FLOP_PER_S]


@inner
def _chosen(e: Engine, rep: int, prompts: bool, d: float, more_s: float) -> int:
    """Return the clock that the policy wants for an iteration, its trial being made; `more_s` follow no clock."""
    limits, run, rates = e.limits[rep], e.run[rep], e.rates[rep]
    gap_s = rates[ALLOW] * rates[TBT_S] - more_s if d > 0.0 else np.inf
    trial = e.trial[rep, : JOINED_S + 1, : limits[CLOCKS]]
    return dispatch.clock_for(
        limits[CLOCK_KIND], trial, run[DIAL], run[PRICE_W], gap_s, run[PROMPT_S] - more_s, d > 0.0, prompts
    )


@inner
def set_clock(
    e: Engine,
    rep: int,
    laws: np.ndarray,
    chunks: int,
    prompts: float,
    p: float,
    pc: float,
    d: float,
    k: float,
    more_s: float,
) -> int:
    """Choose the clock for the iteration over (p, pc, d, k) that begins now; return it.

    `owner` holds whose the `chunks` are; `prompts` of the p tokens are theirs, the others are drafts. The iteration
    takes `more_s` beside its law, for drafting and adapters.
    """
    at, run, limits, kind = e.at[rep], e.run[rep], e.limits[rep], e.limits[rep, CLOCK_KIND]
    now, wanted = run[NOW], at[CLOCK_WANTED]
    if kind <= dispatch.PHASE_CLOCK:
        wanted = limits[PREFILL_CLOCK] if chunks > 0 else limits[DECODE_CLOCK]
        return _set(e, rep, laws, wanted, now, p, pc, d, k)
    if watches(limits):
        _tick(e, rep, laws, chunks, prompts, d, k, now, run[GATE])
    if kind == dispatch.ENERGY_MINIMUM:
        _price(e, rep, at[ITERATION], d, prompts, now)
    if not _under_way(e, rep, now):
        if kind != dispatch.MIAD:
            need_per_s, tokens, slack_s, waits = pressure(e, rep, chunks, prompts, now, run[GATE])
            run[PROMPT_S] = dispatch.prompt_s(kind, prompts, need_per_s, tokens, slack_s, waits, e.rates[rep, ALLOW])
        if dispatch.chooses(kind, chunks > 0):
            for c in range(limits[CLOCKS]):
                seconds, joules = cost(laws[c], p, pc, d, k)
                _try(e, rep, laws, c, seconds, joules, prompts)
        wanted = _chosen(e, rep, chunks > 0, d, more_s)
    return _set(e, rep, laws, wanted, now, p, pc, d, k)


@inner
def begin_decode(e: Engine, rep: int, laws: np.ndarray, constants: np.ndarray, d: float) -> None:
    """Prepare `set_decode_clock` for iterations that only decode: who waits does so to their end."""
    run, limits, trial = e.run[rep], e.limits[rep], e.trial[rep]
    if not dispatch.chooses(limits[CLOCK_KIND], False):
        return
    waits = e.at[rep, PART] != NONE or next_release_s(e.real, e.queues[rep], -np.inf) <= run[GATE]
    run[PROMPT_S] = 0.0 if waits else np.inf
    for c in range(limits[CLOCKS]):
        trial[LINE_S, c], trial[LINE_J, c], _, holds = decode_line(laws[c], constants[c], d)
        trial[HOLDS, c] = 1.0 if holds else 0.0


@inner
def set_decode_clock(
    e: Engine,
    rep: int,
    laws: np.ndarray,
    constants: np.ndarray,
    d: float,
    k: float,
    i: int,
    now: float,
    gate: float,
    more_s: float,
) -> int:
    """Choose the clock for iteration `i`, which begins `now` and only decodes; return it."""
    limits, trial, kind, wanted = e.limits[rep], e.trial[rep], e.limits[rep, CLOCK_KIND], e.at[rep, CLOCK_WANTED]
    if kind <= dispatch.PHASE_CLOCK:
        return _set(e, rep, laws, limits[DECODE_CLOCK], now, 0.0, 0.0, d, k)
    if watches(limits):
        _tick(e, rep, laws, 0, 0.0, d, k, now, gate)
    if kind == dispatch.ENERGY_MINIMUM:
        _price(e, rep, i, d, 0.0, now)
    if not _under_way(e, rep, now):
        if dispatch.chooses(kind, False):
            for c in range(limits[CLOCKS]):
                seconds, joules = (
                    trial[LINE_S, c] + k * constants[c, PER_KV_S],
                    trial[LINE_J, c] + k * constants[c, PER_KV_J],
                )
                if trial[HOLDS, c] == 0.0 or joules >= laws[c, LIMIT_W] * seconds:
                    seconds, joules = cost(laws[c], 0.0, 0.0, d, k)
                _try(e, rep, laws, c, seconds, joules, 0.0)
        wanted = _chosen(e, rep, False, d, more_s)
    return _set(e, rep, laws, wanted, now, 0.0, 0.0, d, k)


@inner
def steered(e: Engine, rep: int) -> bool:
    """Whether the clock has to be looked at before every iteration, even if nothing but time goes on."""
    limits, at = e.limits[rep], e.at[rep]
    if e.rates[rep, CAP_W] < np.inf or limits[CLOCK_KIND] > dispatch.PHASE_CLOCK:
        return True
    return at[CLOCK] != at[CLOCK_WANTED] or at[CLOCK] != min(limits[DECODE_CLOCK], at[CEILING])
