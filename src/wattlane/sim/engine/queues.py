"""Who waits and who runs on a replica: one list a priority level in order of arrival, one list in order of admission.

First come, first served is the case of one level. A preempted request goes back to where its arrival puts it, which
is the head of its level unless others were preempted too.
"""

from __future__ import annotations

import numpy as np

from wattlane.model.jit import inner
from wattlane.sim.engine.layout import (
    ADAPTER,
    CACHED,
    HANDOFF,
    INPUT,
    ITERATION,
    LEVEL,
    LOADS,
    NEXT,
    NONE,
    ORDER,
    PREV,
    PRODUCED,
    QUEUED,
    QUEUED_TOKENS,
    RELEASE_S,
    RUN_HEAD,
    RUN_TAIL,
    USED,
    USERS,
    WHICH,
)

HEAD, TAIL = 0, 1


@inner
def waiting_tokens(ask: np.ndarray, r: int) -> int:
    """Return the prompt tokens a waiting request has to process, as far as its given cached ones tell."""
    if ask[r, HANDOFF] == 1:
        return 0
    goal = ask[r, INPUT] + ask[r, PRODUCED]
    return goal - min(ask[r, CACHED], goal - 1)


@inner
def push(ask: np.ndarray, at: np.ndarray, queues: np.ndarray, r: int) -> None:
    """Put a request behind all that wait at its level."""
    level = ask[r, LEVEL]
    tail = queues[level, TAIL]
    ask[r, NEXT] = NONE
    if tail == NONE:
        queues[level, HEAD] = r
    else:
        ask[tail, NEXT] = r
    queues[level, TAIL] = r
    at[QUEUED] += 1
    at[QUEUED_TOKENS] += waiting_tokens(ask, r)


@inner
def put_back(ask: np.ndarray, at: np.ndarray, queues: np.ndarray, r: int) -> None:
    """Put a preempted request where its arrival belongs."""
    level = ask[r, LEVEL]
    before, here = NONE, queues[level, HEAD]
    while here != NONE and ask[here, ORDER] < ask[r, ORDER]:
        before, here = here, ask[here, NEXT]
    ask[r, NEXT] = here
    if before == NONE:
        queues[level, HEAD] = r
    else:
        ask[before, NEXT] = r
    if here == NONE:
        queues[level, TAIL] = r
    at[QUEUED] += 1
    at[QUEUED_TOKENS] += waiting_tokens(ask, r)


@inner
def drop(ask: np.ndarray, at: np.ndarray, queues: np.ndarray, level: int, before: int, r: int) -> None:
    """Take a waiting request out of its list; `before` is the one ahead of it, NONE at the head."""
    after = ask[r, NEXT]
    if before == NONE:
        queues[level, HEAD] = after
    else:
        ask[before, NEXT] = after
    if after == NONE:
        queues[level, TAIL] = before
    ask[r, NEXT] = NONE
    at[QUEUED] -= 1
    at[QUEUED_TOKENS] -= waiting_tokens(ask, r)


@inner
def pick(
    ask: np.ndarray, real: np.ndarray, queues: np.ndarray, adapters: np.ndarray, horizon_s: float
) -> tuple[int, int, int]:
    """Return (level, the one ahead, the request) that is next among those released by `horizon_s`, or NONE thrice.

    Requests whose adapter finds no slot are passed over, and keep their place.
    """
    for level in range(queues.shape[0]):
        before, here = NONE, queues[level, HEAD]
        while here != NONE and real[here, RELEASE_S] <= horizon_s:
            if ask[here, ADAPTER] == 0 or adapters.shape[0] == 0 or slot_for(adapters, ask[here, ADAPTER]) != NONE:
                return level, before, here
            before, here = here, ask[here, NEXT]
    return NONE, NONE, NONE


@inner
def next_release_s(real: np.ndarray, queues: np.ndarray, after_s: float) -> float:
    """Return when the first waiting request is released; with `after_s` the first one later than that."""
    first = np.inf
    for level in range(queues.shape[0]):
        head = queues[level, HEAD]
        if head != NONE and real[head, RELEASE_S] > after_s:
            first = min(first, real[head, RELEASE_S])
    return first


@inner
def join(ask: np.ndarray, at: np.ndarray, r: int) -> None:
    """Append a request to those that run."""
    tail = at[RUN_TAIL]
    ask[r, PREV], ask[r, NEXT] = tail, NONE
    if tail == NONE:
        at[RUN_HEAD] = r
    else:
        ask[tail, NEXT] = r
    at[RUN_TAIL] = r


@inner
def leave(ask: np.ndarray, at: np.ndarray, r: int) -> None:
    """Take a request out of those that run."""
    before, after = ask[r, PREV], ask[r, NEXT]
    if before == NONE:
        at[RUN_HEAD] = after
    else:
        ask[before, NEXT] = after
    if after == NONE:
        at[RUN_TAIL] = before
    else:
        ask[after, PREV] = before


@inner
def victim(ask: np.ndarray, at: np.ndarray, queues: np.ndarray) -> int:
    """Return who runs and is preempted first: the last arrival of the lowest priority."""
    if queues.shape[0] == 1:
        return at[RUN_TAIL]
    worst = r = at[RUN_TAIL]
    while r != NONE:
        lower = ask[r, LEVEL] > ask[worst, LEVEL]
        if lower or (ask[r, LEVEL] == ask[worst, LEVEL] and ask[r, ORDER] > ask[worst, ORDER]):
            worst = r
        r = ask[r, PREV]
    return worst


@inner
def slot_for(adapters: np.ndarray, which: int) -> int:
    """Return the slot that holds an adapter or may: an own one, an empty one, the longest unused; NONE if all run."""
    best = NONE
    for s in range(adapters.shape[0]):
        if adapters[s, WHICH] == which:
            return s
        if adapters[s, USERS] == 0 and (best == NONE or adapters[s, USED] < adapters[best, USED]):
            best = s
    return best


@inner
def use_adapter(at: np.ndarray, adapters: np.ndarray, which: int) -> bool:
    """Let one more request use an adapter; return whether it had to be loaded. Without slots all are always there."""
    if adapters.shape[0] == 0:
        return False
    s = slot_for(adapters, which)
    loaded = adapters[s, WHICH] != which
    if loaded:
        adapters[s, WHICH] = which
        at[LOADS] += 1
    adapters[s, USERS] += 1
    adapters[s, USED] = at[ITERATION] + 1
    return loaded


@inner
def free_adapter(at: np.ndarray, adapters: np.ndarray, which: int) -> None:
    """Let one request fewer use an adapter, which stays in its slot."""
    for s in range(adapters.shape[0]):
        if adapters[s, WHICH] == which:
            adapters[s, USERS] -= 1
            adapters[s, USED] = at[ITERATION] + 1
