"""Energy per request against p99 TTFT for every configuration tried; what keeps the SLO is filled.

The line joins the feasible configurations that no other beats in both. Thousands of points are thinned to one a cell
of a grid; the line, the baseline and the plan are never thinned away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wattlane.core.extras import require
from wattlane.report import canvas, units
from wattlane.report.figures.base import Figure
from wattlane.report.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

CELLS = 40
MARKED = (("baseline", canvas.BASELINE, "D"), ("plan", canvas.PLAN, "o"))
Points = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]


def points(run: Run) -> Points | None:
    """Return (p99 TTFT s, J per request, feasible) of the configurations that have both values above 0."""
    table = run.frontier
    if table is None:
        return None
    table = table.drop_nulls(["ttft_p99_s", "energy_j_per_request", "feasible"])
    table = table.filter((table["ttft_p99_s"] > 0) & (table["energy_j_per_request"] > 0))
    table = table.filter(table["ttft_p99_s"].is_finite() & table["energy_j_per_request"].is_finite())
    if len(table) == 0:
        return None
    return table["ttft_p99_s"].to_numpy(), table["energy_j_per_request"].to_numpy(), table["feasible"].to_numpy()


def best(ttft_s: NDArray[np.float64], energy_j: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the rows no other row beats in both, by rising TTFT."""
    order = np.lexsort((energy_j, ttft_s))
    least = np.minimum.accumulate(energy_j[order])
    keep = np.concatenate(([True], least[1:] < least[:-1]))
    return order[keep]


def thinned(ttft_s: NDArray[np.float64], energy_j: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return one row for each occupied cell of a grid over log TTFT and log energy."""
    cell = np.zeros(len(ttft_s), np.int64)
    for values in (np.log(ttft_s), np.log(energy_j)):
        span = float(np.ptp(values)) or 1.0
        cell = cell * (CELLS + 1) + ((values - values.min()) / span * CELLS).astype(np.int64)
    return np.unique(cell, return_index=True)[1]


def plot(run: Run) -> Drawing | None:
    """Return the scatter with its frontier, the target, baseline and plan."""
    found = points(run)
    if found is None:
        return None
    ttft_s, energy_j, feasible = found
    size, unit = units.scale([float(np.median(energy_j))], units.ENERGY)
    drawing, (axes,) = canvas.panels(3.4)
    for mask, style in (
        (~feasible, {"facecolors": "none", "edgecolors": canvas.OTHER, "label": "misses the SLO", "linewidths": 0.7}),
        (feasible, {"facecolors": canvas.DECODE, "edgecolors": "none", "label": "keeps the SLO"}),
    ):
        x, y = ttft_s[mask], energy_j[mask]
        if len(x):
            rows = thinned(x, y)
            axes.scatter(x[rows], y[rows] / size, s=15, **style)
    if feasible.any():
        x, y = ttft_s[feasible], energy_j[feasible]
        rows = best(x, y)
        axes.plot(x[rows], y[rows] / size, color=canvas.DECODE, lw=1.2, drawstyle="steps-post")
    _marks(run, axes, size)
    axes.set_xscale("log")
    axes.set_xlim(right=_slowest_drawn(run, found))
    ticker = require("matplotlib.ticker")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.set_xlabel("TTFT p99, s")
    axes.set_ylabel(f"energy per request, {unit}")
    drawing.legend(loc="outside upper left", ncols=2, handletextpad=0.2)
    return drawing


def _slowest_drawn(run: Run, found: Points) -> float:
    """Return where the axis ends, s: overloaded configurations queue for minutes and would leave the rest no room."""
    ttft_s, _, feasible = found
    cases = (run.summary.baseline, run.summary.plan)
    known_s = [run.summary.scenario.slo.ttft_s, *(None if case is None else case.ttft_p99_s for case in cases)]
    last_s = float(ttft_s.max())
    wanted_s = max([value for value in known_s if value] + ttft_s[feasible].tolist(), default=last_s)
    return float(max(wanted_s * 1.2, min(last_s * 1.2, wanted_s * 10)))


def _marks(run: Run, axes: Axes, size: float) -> None:
    target_s = run.summary.scenario.slo.ttft_s
    if target_s is not None:
        axes.axvline(target_s, color=canvas.MUTED, lw=1, ls=":")
        axes.annotate(
            "TTFT target",
            (target_s, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, -9),
            textcoords="offset points",
            bbox=canvas.BACKING,
        )
    for name, colour, marker in MARKED:
        case = getattr(run.summary, name)
        if case is None or not case.ttft_p99_s or case.energy_j_per_request is None:
            continue
        x, y = case.ttft_p99_s, case.energy_j_per_request / size
        axes.scatter([x], [y], s=60, c=colour, marker=marker, edgecolors=canvas.INK, linewidths=0.8, zorder=5)
        axes.annotate(
            name, (x, y), xytext=(7, 4), textcoords="offset points", fontweight="bold", zorder=6, bbox=canvas.BACKING
        )


def describe(run: Run) -> str:
    """Return how many configurations were tried and where baseline and plan lie."""
    found = points(run)
    tried = 0 if found is None else len(found[0])
    keep = 0 if found is None else int(found[2].sum())
    texts = []
    for name, _, _ in MARKED:
        case = getattr(run.summary, name)
        if case is not None:
            energy = units.one(case.energy_j_per_request, units.ENERGY)
            texts.append(f"{name} {energy} per request at {units.one(case.ttft_p99_s, units.TIME)}")
    beyond = 0 if found is None else int((found[0] > _slowest_drawn(run, found)).sum())
    tail = f" {beyond:,} slower ones are outside the axis." if beyond else ""
    return f"{tried:,} configurations tried, {keep:,} keep the SLO; {'; '.join(texts)} (p99 TTFT).{tail}"


FRONTIER = Figure("frontier", "Energy against latency", "frontier.parquet with at least one row", plot, describe)
