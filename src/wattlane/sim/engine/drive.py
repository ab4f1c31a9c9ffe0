"""The events of a fleet in order of time: arrivals, failures with their retries, scaling, and ticks of controllers.

Between events each replica runs on its own. Where routing looks at the replicas, all of them are stepped to every
arrival; where it does not, they are stepped only to the other events. A table that runs full ends the call; called
again after it was grown, it goes on with the same event.
"""

from __future__ import annotations

import numpy as np

from wattlane.model.jit import inner, kernel
from wattlane.sim import dispatch
from wattlane.sim.engine.advance import advance, evict_all
from wattlane.sim.engine.control import activate, full, next_tick_s, tick
from wattlane.sim.engine.layout import (
    ACTIVE,
    ARRIVALS,
    ATTEMPT,
    AVOIDED,
    BEGUN,
    CACHED,
    COMPUTED,
    DECISIONS_FULL,
    DOWN_W,
    EXPECTED,
    EXPECTED_TOKENS,
    FRESH,
    GROUP,
    HANDOFF,
    INPUT,
    NEXT,
    NONE,
    NOW,
    ORDER,
    PRODUCED,
    PROMPT_TOKENS,
    QUEUED,
    QUEUED_TOKENS,
    READY,
    RELEASE_S,
    REPLICA,
    REST_END_S,
    REST_J,
    REST_START_S,
    RESTS,
    RUN_HEAD,
    SEATS,
    START,
    STATUS,
    UP_S,
    WAITING,
    Engine,
)
from wattlane.sim.engine.queues import push
from wattlane.sim.engine.states import rest

ARRIVAL, FAILURE, CHANGE, RETRY_HEAD, RETRY_TAIL, SEQUENCE = 0, 1, 2, 3, 4, 5  # columns of the cursor
FAIL_S, FAIL_UP_S, FAIL_REPLICA = 0, 1, 2  # columns of failures


@kernel
def _eligible(e: Engine, members: np.ndarray, now: float) -> np.ndarray:
    """Return the replicas that may take a request: active ones that are up and none avoids, failing that active ones,
    failing that any up, failing that any."""
    out = np.empty(members.size, np.int64)
    for strictness in range(3, -1, -1):
        count = 0
        for rep in range(members.size):
            up, active = e.run[rep, UP_S] <= now, e.at[rep, ACTIVE] == 1
            fits = (strictness < 1 or up) and (strictness < 2 or active)
            if members[rep] == 1 and fits and (strictness < 3 or e.at[rep, AVOIDED] == 0):
                out[count] = rep
                count += 1
        if count > 0:
            return out[:count]
    return out[:0]


@kernel
def _send(e: Engine, cursor: np.ndarray, r: int, members: np.ndarray, kind: int, now: float) -> None:
    """Route a request and put it into the queue of its replica."""
    eligible = _eligible(e, members, now)
    if dispatch.needs_state(kind):
        rep = dispatch.replica_for(kind, eligible, e, r, now)
    else:
        rep = eligible[dispatch.in_turn(cursor[SEQUENCE], eligible.size)]
    e.ask[r, ORDER] = cursor[SEQUENCE]
    e.ask[r, REPLICA] = rep
    cursor[SEQUENCE] += 1
    push(e.ask, e.at[rep], e.queues[rep], r)
    totals = e.totals[rep]
    totals[ARRIVALS] += 1
    totals[EXPECTED_TOKENS] += e.ask[r, EXPECTED]
    if e.ask[r, HANDOFF] == 0:
        totals[PROMPT_TOKENS] += e.ask[r, INPUT] - e.ask[r, CACHED]


@inner
def _retry(e: Engine, cursor: np.ndarray, r: int, at_s: float) -> None:
    """Queue a request that its replica lost for another attempt, from nothing."""
    ask = e.ask
    ask[r, PRODUCED] = ask[r, START]
    ask[r, COMPUTED] = ask[r, FRESH] = ask[r, HANDOFF] = 0
    ask[r, STATUS], ask[r, BEGUN] = WAITING, NONE
    ask[r, ATTEMPT] += 1
    e.real[r, RELEASE_S] = at_s
    ask[r, NEXT] = NONE
    if cursor[RETRY_HEAD] == NONE:
        cursor[RETRY_HEAD] = r
    else:
        ask[cursor[RETRY_TAIL], NEXT] = r
    cursor[RETRY_TAIL] = r


@inner
def _acts_before(e: Engine, rep: int, until_s: float) -> bool:
    """Whether anything may happen on a replica before `until_s`."""
    if e.at[rep, SEATS] > 0:
        return e.run[rep, NOW] < until_s
    return e.at[rep, QUEUED] > 0


@kernel
def _fail(e: Engine, cursor: np.ndarray, rep: int, at_s: float, up_s: float, retry_s: float) -> None:
    """Break a replica down: everybody on it is sent again, those that ran first, in order of their rows."""
    n = e.ask.shape[0]
    held = np.zeros(n, np.bool_)
    for level in range(e.queues.shape[1]):
        r = e.queues[rep, level, 0]
        while r != NONE:
            held[r] = True
            r = e.ask[r, NEXT]
        e.queues[rep, level, 0] = e.queues[rep, level, 1] = NONE
    e.at[rep, QUEUED] = e.at[rep, QUEUED_TOKENS] = 0
    r = e.at[rep, RUN_HEAD]
    while r != NONE:
        held[r] = True
        r = e.ask[r, NEXT]
    if e.run[rep, NOW] < at_s:
        rest(e, rep, at_s, False)
    evict_all(e, rep, max(up_s, at_s), e.rates[rep, DOWN_W])
    for i in range(n):
        if held[i]:
            _retry(e, cursor, i, at_s + retry_s)


@kernel
def drive(
    e: Engine,
    cursor: np.ndarray,
    order: np.ndarray,
    members: np.ndarray,
    kind: int,
    failures: np.ndarray,
    change_at_s: np.ndarray,
    counts: np.ndarray,
    retry_s: float,
    end_s: float,
) -> int:
    """Route every request, apply every event and serve everything; return `READY`, or which table is full.

    Args:
        cursor: (6,) where the events stand, kept between calls.
        order: (n,) requests by release.
        members: (groups, R) 1 where a group of requests may be served.
        failures: (f, 3) seconds, seconds of the repair and replica, ascending.
        change_at_s, counts: (t,) and (t, pools) when how many replicas of a pool become active.
        end_s: iterations that begin then or later are left for another call; infinite: none is.
    """
    while True:
        arrival_s = e.real[order[cursor[ARRIVAL]], RELEASE_S] if cursor[ARRIVAL] < order.size else np.inf
        retry_at_s = e.real[cursor[RETRY_HEAD], RELEASE_S] if cursor[RETRY_HEAD] != NONE else np.inf
        failure_s = failures[cursor[FAILURE], FAIL_S] if cursor[FAILURE] < failures.shape[0] else np.inf
        change_s = change_at_s[cursor[CHANGE]] if cursor[CHANGE] < change_at_s.size else np.inf
        control_s = next_tick_s(e.control)
        now = min(arrival_s, retry_at_s, failure_s, change_s, control_s)
        changes, ticks = change_s == now, control_s == now
        if ticks and control_s < np.inf and full(e):
            return DECISIONS_FULL
        broken = int(failures[cursor[FAILURE], FAIL_REPLICA]) if failure_s == now and failure_s < np.inf else NONE
        retried = retry_at_s <= arrival_s
        r = cursor[RETRY_HEAD] if retried else (order[cursor[ARRIVAL]] if cursor[ARRIVAL] < order.size else NONE)
        group = members[e.ask[r, GROUP] if r != NONE else 0]
        looks = changes or ticks or (broken == NONE and dispatch.needs_state(kind))
        for rep in range(e.at.shape[0]):
            concerned = changes or ticks or group[rep] == 1
            until_s = end_s if now == np.inf else now
            if ((looks and concerned) or rep == broken or now == np.inf) and _acts_before(e, rep, until_s):
                lack = advance(e, rep, until_s)
                if lack != READY:
                    return lack
        if now == np.inf:
            return READY
        if changes:
            activate(e, counts[cursor[CHANGE]], now)
            cursor[CHANGE] += 1
        elif ticks:
            tick(e, now, min(arrival_s, retry_at_s, failure_s, change_s) < np.inf)
        elif broken != NONE:
            _fail(e, cursor, broken, now, failures[cursor[FAILURE], FAIL_UP_S], retry_s)
            cursor[FAILURE] += 1
        else:
            if retried:
                cursor[RETRY_HEAD] = e.ask[r, NEXT]
            else:
                cursor[ARRIVAL] += 1
            _send(e, cursor, r, group, kind, now)


@kernel
def rest_until(e: Engine, end_s: float) -> None:
    """Let every replica rest until `end_s`, the end of the account, which cuts a state that is being entered."""
    for rep in range(e.at.shape[0]):
        if e.run[rep, NOW] < end_s:
            rest(e, rep, end_s, False)
        if e.run[rep, NOW] > end_s:
            last = e.rests[rep, e.at[rep, RESTS] - 1]
            last[REST_J] *= (end_s - last[REST_START_S]) / (last[REST_END_S] - last[REST_START_S])
            last[REST_END_S] = e.run[rep, NOW] = end_s
