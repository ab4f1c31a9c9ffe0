"""The measured GPU power beside the requests, if DCGM's histories are there. Absent stays absent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wattlane.core.types import Boundary, Origin
from wattlane.workload.metrics.counters import Grid, increases
from wattlane.workload.metrics.queries import GPU_ENERGY, GPU_POWER
from wattlane.workload.metrics.responses import Floats, Series

J_PER_MJ = 1e-3


@dataclass(frozen=True, eq=False, slots=True)
class Power:
    """Mean power of all GPUs in each step, watts; NaN in a step where a GPU that was ever seen is not covered."""

    power_w: Floats
    step_s: float
    gpus: int
    metric: str
    origin: Origin = Origin.MEASURED
    boundary: Boundary = Boundary.GPU

    @property
    def covered(self) -> float:
        """Share of the steps whose power is known."""
        return float(np.isfinite(self.power_w).mean())

    @property
    def energy_j(self) -> float | None:
        """Energy over the steps, joules; None unless every step is covered."""
        return float(self.power_w.sum() * self.step_s) if self.covered == 1.0 else None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file; the power of a step that is not covered is None."""
        return {
            "origin": str(self.origin),
            "boundary": str(self.boundary),
            "metric": self.metric,
            "gpus": self.gpus,
            "step_s": self.step_s,
            "energy_j": self.energy_j,
            "power_w": [watts if np.isfinite(watts) else None for watts in self.power_w.tolist()],
        }


def power_of(watts: Sequence[Series], millijoules: Sequence[Series], grid: Grid) -> Power | None:
    """Return the power history, from the energy counters if there are any, else from the watts, else None."""
    if millijoules:
        each = [_from_energy(series, grid) for series in millijoules]
    elif watts:
        each = [_from_power(series, grid) for series in watts]
    else:
        return None
    return Power(np.sum(each, axis=0), grid.step_s, len(each), GPU_ENERGY if millijoules else GPU_POWER)


def _from_energy(series: Series, grid: Grid) -> Floats:
    grown = increases(series.time_s, series.values[:, None], grid, from_zero=False).values[:, 0]
    return _where_covered(grown * J_PER_MJ / grid.step_s, series, grid)


def _from_power(series: Series, grid: Grid) -> Floats:
    at_edges = np.interp(grid.edges_s, series.time_s, series.values)
    return _where_covered((at_edges[1:] + at_edges[:-1]) / 2, series, grid)


def _where_covered(power_w: Floats, series: Series, grid: Grid) -> Floats:
    slack_s = grid.step_s / 2
    starts, ends = grid.edges_s[:-1], grid.edges_s[1:]
    covered = (starts >= series.time_s[0] - slack_s) & (ends <= series.time_s[-1] + slack_s)
    return np.where(covered, power_w, np.nan)
