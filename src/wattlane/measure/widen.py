"""Widen a window until its own random error is as small as asked, or say that it cannot be had.

    pass ─► decide ─► [ the workload n times in one window ] ─► decide ─► take, widen again, or refuse

The error of a window comes from its edges, so that n passes in one window divide the relative error by n. The first
pass only tells how many are needed; the figures are those of the last window alone. A refused window keeps its figures
and is not valid: no wide interval goes through in silence.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wattlane.core.errors import InputError
from wattlane.measure.assemble import Driven
from wattlane.measure.energy.estimate import to_record, window_energy
from wattlane.measure.energy.integrate import MAX_GAP_S
from wattlane.measure.energy.refuse import Action, decide
from wattlane.measure.readings import Reading
from wattlane.measure.recorder import Recorder
from wattlane.measure.schedule import DENSE_S
from wattlane.measure.validity.codes import Code
from wattlane.measure.validity.estimates import source_refresh_s
from wattlane.measure.validity.sampling import LEAST_STEPS
from wattlane.measure.validity.scene import to_series

if TYPE_CHECKING:
    import polars as pl

MAX_PASSES = 100
MARGIN = 1.2  # where edges fall inside their ticks differs from window to window
GROWTH = 10  # a window much shorter than a tick tells little of what a longer one needs
HOPELESS = 10
TIMES = ("arrival_s", "release_s", "first_token_s", "end_s", "offered_s", "started_s")
SEED_STEP = 1_000_003  # between passes: a prefix cache must not know the prompts of the one before


@dataclass(frozen=True, slots=True)
class Precision:
    """`relative`: half-width of the window's random error over its energy; at most `max_passes` of the workload."""

    relative: float
    max_passes: int = MAX_PASSES

    def problems(self) -> list[str]:
        """Return what is wrong with the values."""
        found = []
        if not 0 < self.relative < 1:
            found.append(f"energy_within is {self.relative}; expected a share of the energy between 0 and 1")
        if self.max_passes < 1:
            found.append(f"max_passes is {self.max_passes}; expected at least 1")
        return found


def widened(go: Callable[[int], Driven], recorder: Recorder, asked: Precision | None) -> Driven:
    """Return the last window that `go` drove; `go(passes)` drives the workload so many times in one window.

    Without `asked` it is driven once. `Driven.precision` says in the form of a reason how the window fared.
    """
    driven = go(1)
    while asked is not None and not (driven.interrupted or driven.engine_ended):
        time.sleep(DENSE_S)  # the tick after the last edge
        passes, reason = _next(driven, recorder, asked)
        driven = replace(driven, precision=reason)
        if passes is None:
            break
        driven = go(passes)
    return driven


def _next(driven: Driven, recorder: Recorder, asked: Precision) -> tuple[int | None, str]:
    """Return how many passes the next window must hold (None: no other window), and the reason so far."""
    wanted, length_s = f"±{asked.relative:.2%} was asked", driven.end_s - driven.start_s
    readings = tuple(recorder.readings)  # the recorder goes on while they are read
    found = window_energy(to_record(readings), driven.start_s, driven.end_s, max_gap_s=MAX_GAP_S) if readings else None
    if found is None or found.energy_j.value <= 0:
        return None, f"{Code.PRECISION_UNCHECKED.value}: {wanted} of an energy that no meter gave"
    decision, least_s = decide(found.energy_j, length_s, asked.relative), _least_s(readings)
    if decision.action is Action.TAKE and length_s >= least_s:
        words = f"{driven.passes} passes in one window" if driven.passes > 1 else "one pass"
        return None, f"{Code.WINDOW_WIDENED.value}: {words}, {decision.message}"
    if decision.needed_s is not None:
        needed = math.ceil(driven.passes * MARGIN * max(decision.needed_s, least_s) / length_s)
        step = min(needed, asked.max_passes, GROWTH * driven.passes)
        if driven.passes < step and needed <= HOPELESS * asked.max_passes:
            return step, ""
        tail = f"; that is {needed} passes of the workload, at most {asked.max_passes} were allowed"
    else:
        tail = ""
    return None, f"{Code.WINDOW_TOO_SHORT.value}: {decision.message}{tail}"


def _least_s(readings: Sequence[Reading]) -> float:
    """Return how long a window must be to hold as many steps of every sensor as a valid one has."""
    refreshes_s = [source_refresh_s(series) or 0.0 for series in to_series(readings)]
    return LEAST_STEPS * max(refreshes_s, default=0.0)


def in_sequence(drive: Callable[[int], tuple[pl.DataFrame, float, bool]], passes: int) -> tuple[pl.DataFrame, float]:
    """Return the rows of all passes on the clock of the first one, and when that began.

    `drive(number)` returns the rows of a pass, when it began on the monotonic clock, and whether the next may follow.
    """
    tables: list[tuple[pl.DataFrame, float]] = []
    for number in range(passes):
        table, start_s, goes_on = drive(number)
        tables.append((table, start_s))
        if not goes_on:
            break
    return joined(tables), tables[0][1]


def joined(tables: Sequence[tuple[pl.DataFrame, float]]) -> pl.DataFrame:
    """Return served tables, each with the start of its clock, as one on the clock of the first; ids run on."""
    import polars as pl

    first_s, rows, parts = tables[0][1], 0, []
    for table, start_s in tables:
        moved = [pl.col(name) + (start_s - first_s) for name in TIMES]
        parts.append(table.with_columns(*moved, request_id=pl.col("request_id") + rows))
        rows += len(table)
    return parts[0] if len(parts) == 1 else pl.concat(parts)


def precision_of(relative: float | None, max_passes: int | None) -> Precision | None:
    """Return what was asked; None where nothing was.

    Raises:
        InputError: passes are limited and no precision is asked.
    """
    if relative is None:
        if max_passes is not None:
            raise InputError(f"max_passes is {max_passes} and no precision is asked; give energy_within too")
        return None
    return Precision(relative, MAX_PASSES if max_passes is None else max_passes)
