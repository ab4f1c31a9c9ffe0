"""At which clock an iteration runs: an index into the laws of a replica, ascending, and when a change takes effect.

A change of clock takes `SWITCH_S` from when it is asked for; iterations that begin before run at the old clock. Asking
for another clock within that time starts anew. A power cap is kept by the board itself, at once: it lowers the clock
to the highest one at which the iteration stays within the cap, or to the lowest there is.
"""

from __future__ import annotations

import numpy as np

from wattlane.model.iteration import cost
from wattlane.model.jit import inner
from wattlane.sim import dispatch
from wattlane.sim.engine.layout import (
    CAP_W,
    CLOCK,
    CLOCK_AT,
    CLOCK_KIND,
    CLOCK_WANTED,
    DECODE_CLOCK,
    NOW,
    SWITCH_S,
    Engine,
)


@inner
def capped(laws: np.ndarray, highest: int, cap_w: float, p: float, pc: float, d: float, k: float) -> int:
    """Return the highest clock, `highest` at most, at which an iteration over (p, pc, d, k) draws `cap_w` or less."""
    for c in range(highest, 0, -1):
        seconds, joules = cost(laws[c], p, pc, d, k)
        if joules <= cap_w * seconds:
            return c
    return 0


@inner
def set_clock(e: Engine, rep: int, laws: np.ndarray, prompts: bool, p: float, pc: float, d: float, k: float) -> int:
    """Choose the clock for the iteration over (p, pc, d, k) that begins now, with prompts or not; return it."""
    at, run, rates = e.at[rep], e.run[rep], e.rates[rep]
    wanted = dispatch.clock_index(e.limits[rep], prompts)
    if wanted != at[CLOCK_WANTED]:
        at[CLOCK_WANTED] = wanted
        run[CLOCK_AT] = run[NOW] + rates[SWITCH_S]
    if run[NOW] >= run[CLOCK_AT]:
        at[CLOCK] = at[CLOCK_WANTED]
    if rates[CAP_W] < np.inf:
        return capped(laws, at[CLOCK], rates[CAP_W], p, pc, d, k)
    return at[CLOCK]


@inner
def settled(e: Engine, rep: int) -> bool:
    """Whether every iteration that only decodes runs at the present clock until something else happens."""
    limits, at = e.limits[rep], e.at[rep]
    if e.rates[rep, CAP_W] < np.inf:
        return False
    if limits[CLOCK_KIND] == dispatch.FIXED_CLOCK:
        return True
    at_decode = at[CLOCK] == limits[DECODE_CLOCK] and at[CLOCK_WANTED] == at[CLOCK]
    return limits[CLOCK_KIND] == dispatch.PHASE_CLOCK and at_decode
