"""Demand by class and time bin, counted from a trace and taken as the forecast of the next time it runs.

The last bin is whole even where the trace ends inside it: its rate is then the requests there were over a whole bin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wattlane.core.workload import Workload


def sped_up(workload: Workload, factor: float) -> Workload:
    """Return the workload with arrivals `factor` times as dense, counted from the first one."""
    start = workload.arrival_s - workload.arrival_s[0]
    return workload.take(np.arange(len(workload)), start / factor, workload.name)


def bins_of(workload: Workload, bin_s: float) -> NDArray[np.int64]:
    """Return the time bin of every request, (n,), from the first arrival on."""
    out: NDArray[np.int64] = ((workload.arrival_s - workload.arrival_s[0]) // bin_s).astype(np.int64)
    return out


def rates(
    workload: Workload, pool_of_request: NDArray[np.int64], pools: int, bin_s: float, bins: int | None = None
) -> NDArray[np.float64]:
    """Return requests per second, (bins, pools); requests after the last bin are not counted."""
    at = bins_of(workload, bin_s)
    count = int(at[-1]) + 1 if bins is None else bins
    out = np.zeros((count, pools))
    inside = at < count
    np.add.at(out, (at[inside], pool_of_request[inside]), 1.0)
    return out / bin_s
