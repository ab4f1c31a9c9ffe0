"""Raw counters into increases for each step of a regular grid.

A counter only grows; a fall is a restart, and what it shows then has grown from 0. Columns that belong to one process
(the buckets of a histogram) restart together: a fall in any of them is a restart of all. Samples that are missing
leave a straight line between their neighbours. A server that appears after the start began at 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.workload.metrics.responses import Floats, Series, sample_times


@dataclass(frozen=True, slots=True)
class Grid:
    """Steps of equal length: step i covers `edges_s[i] … edges_s[i + 1]`, Unix time."""

    edges_s: Floats
    step_s: float

    @property
    def steps(self) -> int:
        """How many steps."""
        return len(self.edges_s) - 1


@dataclass(frozen=True, eq=False, slots=True)
class Increases:
    """Increase of each column in each step, shape (steps, columns), with what had to be mended."""

    values: Floats
    restarts: int = 0
    gap_steps: int = 0
    born: float = 0.0

    def __add__(self, other: Increases) -> Increases:
        return Increases(
            self.values + other.values,
            self.restarts + other.restarts,
            self.gap_steps + other.gap_steps,
            self.born + other.born,
        )


def grid_of(series: list[Series]) -> Grid:
    """Return the grid of all sample times; the step is the usual distance between samples.

    Raises:
        InputError: there are fewer than two sample times.
    """
    times_s = sample_times(series)
    if len(times_s) < 2:
        raise InputError(f"found {len(times_s)} sample times; expected at least 2: widen the range or shorten the step")
    step_s = float(np.median(np.diff(times_s)))
    steps = round(float(times_s[-1] - times_s[0]) / step_s)
    return Grid(times_s[0] + step_s * np.arange(steps + 1), step_s)


def increases(time_s: Floats, values: Floats, grid: Grid, *, from_zero: bool = True) -> Increases:
    """Return the increases of columns that restart together.

    Args:
        time_s: sample times, shape (samples,).
        values: raw counters, shape (samples, columns); the last column counts requests.
        grid: the steps.
        from_zero: whether counters that appear after the start began at 0.
    """
    grown = np.diff(values, axis=0)
    restarted = (grown < 0).any(axis=1)
    grown[restarted] = values[1:][restarted]
    total = np.concatenate((np.zeros((1, values.shape[1])), np.cumsum(grown, axis=0)))
    born = 0.0
    if from_zero and time_s[0] > grid.edges_s[0] + grid.step_s / 2:
        born = float(values[0, -1])
        total = np.concatenate((np.zeros((1, values.shape[1])), total + values[0]))
        time_s = np.concatenate(([time_s[0] - grid.step_s], time_s))
    at_edges = np.stack([np.interp(grid.edges_s, time_s, column) for column in total.T], axis=1)
    missing = np.rint(np.diff(time_s) / grid.step_s) - 1
    return Increases(np.diff(at_edges, axis=0), int(restarted.sum()), int(missing[missing > 0].sum()), born)


def whole(amounts: Floats) -> NDArray[np.int64]:
    """Return whole numbers close to `amounts` (each within 1) whose running totals are the rounded running totals."""
    running = np.floor(np.cumsum(amounts) + 0.5).astype(np.int64)
    return np.diff(running, prepend=0)
