"""Speculative decoding: drafts, their verification in one iteration, and how many are accepted.

Each decoding sequence drafts k tokens and verifies them together with its next one: k more tokens pass through the
model against a context that grows by one each, as a prompt chunk would, while the KV cache is read once. Drafting
costs k iterations of the draft model's own law (all zero where drafts come free, from the prompt). Each draft is
accepted with the same probability until the first that is not (Leviathan, Kalman & Matias 2023, arXiv 2211.17192), and
luck is a function of seed, request and position alone: the same under every policy.
"""

from __future__ import annotations

import numpy as np

from wattlane.model.iteration import EMPTY_J, WEIGHT_BYTES_PER_S, cost, priced
from wattlane.model.jit import inner, kernel
from wattlane.sim.engine.clocks import set_clock
from wattlane.sim.engine.iterate import charge_chunks, write_iteration
from wattlane.sim.engine.layout import (
    ACCEPTANCE,
    DECODE_J,
    DECODING,
    DRAFTS,
    GOAL,
    HELD,
    ITERATION,
    KV_TOKENS,
    LAW_GROUP,
    LOAD_J,
    LOAD_S,
    LOADS,
    NEXT,
    NONE,
    OUTPUT,
    PRODUCED,
    RUN_HEAD,
    RUNNING,
    SEED,
    SEG_FIRST,
    STATUS,
    Engine,
)
from wattlane.sim.engine.segments import end_answer, write_run

PRIME = 2147483647


@kernel
def luck(seed: int, request: int, position: int) -> float:
    """Return a number in (0, 1) that depends on nothing else."""
    x = ((seed % PRIME) * 40014 + (request % PRIME) * 69621 + position * 40692 + 12345) % PRIME
    for _ in range(4):
        x = ((x ^ (x >> 15)) * 48271 + 11) % PRIME
    return (x + 0.5) / PRIME


@inner
def emitted(seed: int, request: int, produced: int, left: int, drafts: int, acceptance: float) -> int:
    """Return how many tokens a step gives a request that has `produced` and lacks `left`."""
    if acceptance >= 1.0:
        accepted = drafts
    elif acceptance <= 0.0:
        accepted = 0
    else:
        accepted = int(min(float(drafts), np.floor(np.log(luck(seed, request, produced)) / np.log(acceptance))))
    return min(accepted + 1, left)


@inner
def draft_cost(draft: np.ndarray, drafts: int, p: float, pc: float, d: float, k: float) -> tuple[float, float]:
    """Return (seconds, joules) of drafting for an iteration: the prompt chunks once, then `drafts` steps."""
    if draft[WEIGHT_BYTES_PER_S] == 0.0:
        return 0.0, 0.0
    seconds = joules = 0.0
    if p > 0.0:
        seconds, joules = cost(draft, p, pc, 0.0, 0.0)
    if d > 0.0:
        t, j = cost(draft, 0.0, 0.0, d, k)
        seconds += drafts * t
        joules += drafts * j
    return seconds, joules


@inner
def speculate(e: Engine, rep: int, chunks: int, ahead: bool) -> None:
    """Run one iteration in which whoever decodes verifies drafts.

    Drafting is charged as the verification is: its joules in proportion to the shares of the iteration.
    """
    ask, at, run, limits, rates = e.ask, e.at[rep], e.run[rep], e.limits[rep], e.rates[rep]
    drafts, d = limits[DRAFTS], float(at[DECODING])
    p = pc = kv_tokens = 0.0
    for j in range(chunks):
        p += e.chunk[rep, j, 0]
        pc += e.chunk[rep, j, 1]
    r = at[RUN_HEAD]
    while r != NONE:
        if ask[r, STATUS] == RUNNING:
            kv_tokens += ask[r, GOAL]
        r = ask[r, NEXT]
    draft_s, draft_j = draft_cost(e.drafts[limits[LAW_GROUP]], drafts, p, pc, d, kv_tokens)
    more_p, more_pc = drafts * d, drafts * kv_tokens + d * 0.5 * drafts * (drafts + 1.0)
    laws, constants = e.laws[limits[LAW_GROUP]], e.constants[limits[LAW_GROUP]]
    load_s, load_j = at[LOADS] * rates[LOAD_S], at[LOADS] * rates[LOAD_J]
    c = set_clock(e, rep, laws, chunks, p, p + more_p, pc + more_pc, d, kv_tokens, draft_s + load_s)
    t, joules, c0, price_p, price_pc, price_d, price_k = priced(
        laws[c], constants[c, EMPTY_J], p + more_p, pc + more_pc, d, kv_tokens
    )
    factor = 1.0 + draft_j / joules
    even = c0 / (at[DECODING] + chunks)
    given = charge_chunks(e, rep, chunks, factor * even, factor * price_p, factor * price_pc)
    fixed = even + price_d + drafts * price_p + 0.5 * drafts * (drafts + 1.0) * price_pc
    slope = price_k + drafts * price_pc
    tokens = 0
    r = at[RUN_HEAD]
    while r != NONE:
        after = ask[r, NEXT]
        if ask[r, STATUS] == RUNNING:
            share_j = factor * (fixed + slope * ask[r, GOAL])
            e.real[r, DECODE_J] += share_j
            given += share_j
            left = ask[r, OUTPUT] - ask[r, PRODUCED]
            got = emitted(limits[SEED], r, ask[r, PRODUCED], left, drafts, rates[ACCEPTANCE])
            ask[r, PRODUCED] += got
            ask[r, GOAL] += got
            tokens += got
            if got == left:
                write_run(e, rep, r, at[ITERATION] + 1 - ask[r, SEG_FIRST])
                at[DECODING] -= 1
                end_answer(e, rep, r, ask[r, HELD], ahead)
        r = after
    run[KV_TOKENS] = kv_tokens
    write_iteration(e, rep, c, t + draft_s + load_s, joules + draft_j + load_j, given + load_j, tokens)
