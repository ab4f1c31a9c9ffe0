"""What a grid would run: its cells, how many trials, and the time if the engine keeps up with the arrivals.

    estimate s = Σ trials × (last arrival + settling + cooling + idle window + start)

What an engine takes beyond the arrivals (a burst has none) is not known before the first trial; the time left, shown
while a campaign runs, comes from the trials that have ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wattlane.core.errors import InputError
from wattlane.measure.campaigns.cells import Cell, Load, expand
from wattlane.measure.campaigns.grid import Grid
from wattlane.measure.trial import IDLE_WINDOW_S

IDLE_S = 1.5 * IDLE_WINDOW_S  # with the rests before and after it
START_S = 1.0  # assumed for the start of an engine and its warm-up


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """A cell with its requests and the last arrival of them, seconds."""

    cell: Cell
    requests: int
    last_arrival_s: float


@dataclass(frozen=True, slots=True)
class CampaignPlan:
    """The cells of a grid and what running them asks for."""

    grid: Grid
    cells: Sequence[PlannedCell]

    @property
    def runs(self) -> list[PlannedCell]:
        """Cells that are not skipped by the grid itself."""
        return [planned for planned in self.cells if planned.cell.skip is None]

    @property
    def trials(self) -> tuple[int, int]:
        """Least and most trials."""
        return len(self.runs) * self.grid.repeats.at_least, len(self.runs) * self.grid.repeats.cap

    @property
    def estimate_s(self) -> float:
        """Seconds that the least number of trials takes on an engine that keeps up with the arrivals."""
        grid = self.grid
        each = grid.warmup.settle_s + grid.cooldown_s + IDLE_S + START_S
        return sum(grid.repeats.at_least * (planned.last_arrival_s + each) for planned in self.runs)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        least, most = self.trials
        return {
            "name": self.grid.name,
            "note": self.grid.note,
            "cells": [
                {
                    **planned.cell.as_dict(),
                    "requests": planned.requests,
                    "last_arrival_s": planned.last_arrival_s,
                    "skip": planned.cell.skip,
                }
                for planned in self.cells
            ],
            "cells_skipped": len(self.cells) - len(self.runs),
            "trials_least": least,
            "trials_most": most,
            "requests_least": sum(planned.requests for planned in self.runs) * self.grid.repeats.at_least,
            "order": self.grid.order,
            "estimate_s": self.estimate_s,
        }


def plan_campaign(grid: Grid) -> CampaignPlan:
    """Return the plan of a grid; every workload is made once, so that a wrong one shows before anything runs.

    Raises:
        InputError: a text, a factor or a workload is wrong; all problems together.
    """
    cells, sizes, problems = expand(grid), dict[Load, tuple[int, float]](), []
    for load in dict.fromkeys(cell.load for cell in cells):
        try:
            workload = load.workload(grid.seed)
        except InputError as error:
            problems.append(str(error))
        else:
            sizes[load] = len(workload), float(workload.release_s[-1])
    if problems:
        raise InputError.gathered(grid.name, problems)
    return CampaignPlan(grid, [PlannedCell(cell, *sizes[cell.load]) for cell in cells])
