"""The tick of a controller: what the replicas did since its last one, and which of them take requests from now on.

At a tick every replica has been stepped to it; the iteration in flight counts whole. Sums over iterations are taken
from the record here, so that without a controller nobody keeps them.
"""

from __future__ import annotations

import numpy as np

from wattlane.model.jit import inner, kernel
from wattlane.sim import dispatch
from wattlane.sim.engine.caps import hold
from wattlane.sim.engine.layout import (
    ACTIVE,
    BUSY_J,
    BUSY_S,
    DECIDED,
    END_S,
    ITERATION,
    LATE_TOKENS,
    NEXT_S,
    OUTPUT_TOKENS,
    PERIOD_S,
    POOL,
    POWER_W,
    QUEUED,
    SEATS,
    START_S,
    TAKEN,
    TBT_S,
    TOKENS,
    WAKE_S,
    Engine,
)
from wattlane.sim.engine.layout import CONTROL_KIND as KIND


@inner
def next_tick_s(control: np.ndarray) -> float:
    """Return when a controller ticks next, infinite if none does."""
    first = np.inf
    for row in range(control.shape[0]):
        first = min(first, control[row, NEXT_S])
    return first


@inner
def _add_up(e: Engine, rep: int) -> None:
    """Add the iterations of a replica since the last tick to its totals."""
    totals, record = e.totals[rep], e.record[rep]
    for i in range(int(totals[TAKEN]), e.at[rep, ITERATION]):
        seconds = record[i, END_S] - record[i, START_S]
        totals[BUSY_S] += seconds
        totals[BUSY_J] += record[i, POWER_W] * seconds
        totals[OUTPUT_TOKENS] += record[i, TOKENS]
        if seconds > e.rates[rep, TBT_S]:
            totals[LATE_TOKENS] += record[i, TOKENS]
    totals[TAKEN] = e.at[rep, ITERATION]


@kernel
def activate(e: Engine, counts: np.ndarray, now: float) -> None:
    """Let the first `counts` replicas of each pool be active, and wake those that become so."""
    seen = np.zeros(counts.size, np.int64)
    for rep in range(e.at.shape[0]):
        pool = e.limits[rep, POOL]
        active = 1 if seen[pool] < counts[pool] else 0
        seen[pool] += 1
        if active == 1 and e.at[rep, ACTIVE] == 0:
            e.run[rep, WAKE_S] = now
        e.at[rep, ACTIVE] = active


@inner
def full(e: Engine) -> bool:
    """Whether a decision may find no row to be noted in."""
    most = 0.0
    for row in range(e.control.shape[0]):
        most = max(most, e.control[row, DECIDED])
    return most >= e.decisions.shape[1]


@kernel
def _note(e: Engine, row: int, counts: np.ndarray, now: float) -> None:
    """Note how many replicas of each pool a controller wants, where that is not what it wanted before."""
    at = int(e.control[row, DECIDED])
    same = at > 0
    for pool in range(counts.size):
        same = same and e.decisions[row, at - 1, 1 + pool] == counts[pool]
    if not same:
        e.decisions[row, at, 0] = now
        e.decisions[row, at, 1:] = counts
        e.control[row, DECIDED] = at + 1


@kernel
def tick(e: Engine, now: float, more: bool) -> None:
    """Let every controller due at `now` decide; with nobody left to serve and no `more` to come none ticks again."""
    for rep in range(e.at.shape[0]):
        _add_up(e, rep)
        more = more or e.at[rep, SEATS] > 0 or e.at[rep, QUEUED] > 0
    for row in range(e.control.shape[0]):
        control = e.control[row]
        if control[NEXT_S] > now:
            continue
        recent = e.totals - e.seen[row]
        if control[KIND] >= dispatch.POLCA:
            hold(e, control, int(control[KIND]), now)
        else:
            counts = dispatch.active_counts(control, e, recent, e.past[row])
            _note(e, row, counts, now)
            activate(e, counts, now)
        e.seen[row] = e.totals
        control[NEXT_S] = now + control[PERIOD_S] if more else np.inf
