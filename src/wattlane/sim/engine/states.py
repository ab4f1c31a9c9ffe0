"""What a replica draws while nothing runs: idle, then deeper states one after the other, and what waking costs.

Each state is entered `AFTER_S` after the last iteration, entering takes time and joules, and so does leaving; a wake
that falls into an entry waits for its end. A replica in state 0 (idle) is ready at once.
"""

from __future__ import annotations

import numpy as np

from wattlane.model.jit import inner
from wattlane.sim.engine.layout import (
    AFTER_S,
    ENTRY_J,
    ENTRY_S,
    EXIT_J,
    EXIT_S,
    LAW_GROUP,
    NOW,
    REST_END_S,
    REST_J,
    REST_START_S,
    REST_STATE,
    RESTS,
    WAKE_S,
    WATTS,
    Engine,
)

ENTERING, LEAVING, DOWN = -1, -2, -3  # values of REST_STATE beside the number of a state


@inner
def _write(rests: np.ndarray, row: int, start_s: float, end_s: float, joules: float, state: int) -> int:
    if end_s <= start_s and joules == 0.0:
        return row
    rests[row, REST_START_S], rests[row, REST_END_S] = start_s, end_s
    rests[row, REST_J], rests[row, REST_STATE] = joules, state
    return row + 1


@inner
def spans(
    ladder: np.ndarray, start_s: float, wake_s: float, wakes: bool, rests: np.ndarray, row: int
) -> tuple[float, int]:
    """Write the spans of a rest from `start_s` until it is ready again after `wake_s`; without `wakes` it is not woken.

    Returns (when it is ready, the next free row).
    """
    now, state = start_s, 0
    while state + 1 < ladder.shape[0] and start_s + ladder[state + 1, AFTER_S] < wake_s:
        enter_s = max(now, start_s + ladder[state + 1, AFTER_S])
        if enter_s >= wake_s:
            break
        row = _write(rests, row, now, enter_s, ladder[state, WATTS] * (enter_s - now), state)
        state += 1
        now = enter_s + ladder[state, ENTRY_S]
        row = _write(rests, row, enter_s, now, ladder[state, ENTRY_J], ENTERING)
    if now < wake_s:
        row = _write(rests, row, now, wake_s, ladder[state, WATTS] * (wake_s - now), state)
        now = wake_s
    if wakes and state > 0:
        row = _write(rests, row, now, now + ladder[state, EXIT_S], ladder[state, EXIT_J], LEAVING)
        now += ladder[state, EXIT_S]
    return now, row


@inner
def rest_spans(e: Engine, rep: int, until_s: float, wakes: bool) -> tuple[float, int]:
    """Write the spans of a rest until a replica is woken at `until_s`, or would be, behind those that count.

    Returns (when it is ready, the next free row). One woken ahead of that rests again from when it is ready.
    """
    run, ladder, row = e.run[rep], e.ladder[e.limits[rep, LAW_GROUP]], e.at[rep, RESTS]
    now = run[NOW]
    if now <= run[WAKE_S] < until_s:
        now, row = spans(ladder, now, run[WAKE_S], True, e.rests[rep], row)
    if now < until_s:
        now, row = spans(ladder, now, until_s, wakes, e.rests[rep], row)
    return now, row


@inner
def rest(e: Engine, rep: int, until_s: float, wakes: bool) -> None:
    """Let a replica rest until it is woken at `until_s`."""
    run = e.run[rep]
    run[NOW], e.at[rep, RESTS] = rest_spans(e, rep, until_s, wakes)
    if run[WAKE_S] < until_s:
        run[WAKE_S] = np.inf


@inner
def down(e: Engine, rep: int, until_s: float, watts: float) -> None:
    """Let a replica be out of order until `until_s`."""
    at, run = e.at[rep], e.run[rep]
    if until_s > run[NOW]:
        at[RESTS] = _write(e.rests[rep], at[RESTS], run[NOW], until_s, watts * (until_s - run[NOW]), DOWN)
        run[NOW] = until_s
