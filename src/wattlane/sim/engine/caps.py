"""What replicas draw as of a tick, and the clocks that a power budget allows them from now on.

The energy up to a tick is exact: an iteration or a rest that goes on counts for the part that has passed, and a rest
that nobody has ended yet for what it would be until now.
"""

from __future__ import annotations

import numpy as np

from wattlane.model.jit import inner
from wattlane.sim import dispatch
from wattlane.sim.engine.layout import (
    AVOIDED,
    CEILING,
    CEILING_ALL,
    CEILING_LOW,
    CLOCKS,
    DRAWN_ITERATIONS,
    DRAWN_J,
    DRAWN_RESTS,
    END_S,
    ITERATION,
    MEAN_W,
    NOW,
    PERIOD_S,
    POWER_W,
    REST_END_S,
    REST_J,
    REST_START_S,
    RESTS,
    SEEN_J,
    SETTINGS,
    START_S,
    TEMPERATURE_C,
    Engine,
)
from wattlane.sim.engine.states import rest_spans

# settings of both, of POLCA and of TAPAS
BUDGET_W, FIRST, RELEASE = SETTINGS, SETTINGS + 1, SETTINGS + 2
SECOND, STAGE = SETTINGS + 3, SETTINGS + 4
LIMIT_C, BAND_C, INLET_C, C_PER_W, WARM_S = SETTINGS + 3, SETTINGS + 4, SETTINGS + 5, SETTINGS + 6, SETTINGS + 7


@inner
def _rest_j(rests: np.ndarray, first: int, end: int, now: float) -> float:
    """Return what the rests of rows `first` to `end` have drawn by `now`."""
    joules = 0.0
    for j in range(first, end):
        start_s, end_s = rests[j, REST_START_S], rests[j, REST_END_S]
        if end_s <= now:
            joules += rests[j, REST_J]
        elif start_s < now:
            joules += rests[j, REST_J] * (now - start_s) / (end_s - start_s)
    return joules


@inner
def drawn_j(e: Engine, rep: int, now: float) -> float:
    """Return the joules a replica has drawn from the beginning to `now`, to which it has been stepped."""
    at, totals, record, rests = e.at[rep], e.totals[rep], e.record[rep], e.rests[rep]
    i, j = int(totals[DRAWN_ITERATIONS]), int(totals[DRAWN_RESTS])
    while i < at[ITERATION] and record[i, END_S] <= now:
        totals[DRAWN_J] += record[i, POWER_W] * (record[i, END_S] - record[i, START_S])
        i += 1
    while j < at[RESTS] and rests[j, REST_END_S] <= now:
        totals[DRAWN_J] += rests[j, REST_J]
        j += 1
    totals[DRAWN_ITERATIONS], totals[DRAWN_RESTS] = i, j
    joules = totals[DRAWN_J]
    if i < at[ITERATION]:
        joules += record[i, POWER_W] * max(0.0, now - record[i, START_S])
    row = at[RESTS]
    if e.run[rep, NOW] < now:
        _, row = rest_spans(e, rep, now, False)
    return joules + _rest_j(rests, j, row, now)


@inner
def hold(e: Engine, control: np.ndarray, kind: int, now: float) -> None:
    """Set the highest clock of every replica by what all drew in the last period."""
    drawn_w = mean_c = 0.0
    replicas = e.at.shape[0]
    for rep in range(replicas):
        joules = drawn_j(e, rep, now)
        e.totals[rep, MEAN_W] = (joules - e.totals[rep, SEEN_J]) / control[PERIOD_S]
        e.totals[rep, SEEN_J] = joules
        drawn_w += e.totals[rep, MEAN_W]
        if kind == dispatch.TAPAS:
            e.run[rep, TEMPERATURE_C] = dispatch.heated_c(
                e.run[rep, TEMPERATURE_C],
                e.totals[rep, MEAN_W],
                control[PERIOD_S],
                control[INLET_C],
                control[C_PER_W],
                control[WARM_S],
            )
            mean_c += e.run[rep, TEMPERATURE_C] / replicas
    share = drawn_w / control[BUDGET_W]
    if kind == dispatch.POLCA:
        stage = int(control[STAGE])
        control[STAGE] = dispatch.polca_stage(stage, share, control[FIRST], control[SECOND], control[RELEASE])
    for rep in range(replicas):
        _lower(e, rep, control, kind, share, mean_c)


@inner
def _lower(e: Engine, rep: int, control: np.ndarray, kind: int, share: float, mean_c: float) -> None:
    """Set the highest clock of a replica, and whether requests go elsewhere."""
    at, limits = e.at[rep], e.limits[rep]
    top = limits[CLOCKS] - 1
    if kind == dispatch.POLCA:
        stage = control[STAGE]
        at[CEILING] = top
        if stage == 1.0:
            at[CEILING] = limits[CEILING_LOW]
        elif stage == 2.0:
            at[CEILING] = limits[CEILING_ALL]
        elif stage == 3.0:
            at[CEILING] = 0
        return
    temperature_c = e.run[rep, TEMPERATURE_C]
    at[AVOIDED] = 1 if dispatch.is_hot(temperature_c, control[LIMIT_C], control[BAND_C]) else 0
    at[CEILING] = dispatch.tapas_ceiling(
        at[CEILING],
        top,
        temperature_c,
        mean_c,
        share,
        control[FIRST],
        control[RELEASE],
        control[LIMIT_C],
        control[BAND_C],
    )
