"""Distribution of the saving over the paired draws, with and without the clock.

Each draw takes law parameters, residuals and clock prior anew and resamples the arrivals in blocks; both deployments
see the same draw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wattlane.report import canvas, units
from wattlane.report.figures.base import Figure
from wattlane.report.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

MOST_BINS = 30


def savings(run: Run, column: str) -> NDArray[np.float64] | None:
    """Return the finite draws of a column; None when there are fewer than two."""
    table = run.draws
    if table is None or column not in table.columns:
        return None
    values: NDArray[np.float64] = table[column].drop_nulls().to_numpy().astype(np.float64)
    values = values[np.isfinite(values)]
    return values if len(values) > 1 else None


def plot(run: Run) -> Drawing | None:
    """Return the histogram, with the interval shaded and zero marked."""
    values = savings(run, "saving_fraction")
    if values is None:
        return None
    other = savings(run, "saving_without_clocks")
    drawing, (axes,) = canvas.panels(2.9)
    both = values if other is None else np.concatenate((values, other))
    low, high = float(both.min()), float(both.max())
    edges = np.linspace(low, high if high > low else low + 0.01, min(MOST_BINS, 8 + len(values) // 12) + 1) * 100
    axes.hist(values * 100, bins=edges.tolist(), color=canvas.PLAN, alpha=0.85, label="plan")
    if other is not None and not np.array_equal(other, values):
        axes.hist(
            other * 100, bins=edges.tolist(), histtype="step", color=canvas.INK, lw=1.3, ls="--", label="without clocks"
        )
    interval = run.summary.saving_interval
    if interval is not None:
        axes.axvspan(100 * interval[0], 100 * interval[1], color=canvas.GRID, alpha=0.6, zorder=0, lw=0)
    if low <= 0.02:
        axes.axvline(0, color=canvas.BASELINE, lw=1.5)
        axes.annotate(
            "no saving",
            (0, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, -9),
            textcoords="offset points",
            bbox=canvas.BACKING,
        )
    axes.set_xlabel("energy saved against the baseline, %")
    axes.set_ylabel("draws")
    axes.grid(visible=False, axis="x")
    drawing.legend(loc="outside upper left", ncols=2)
    return drawing


def describe(run: Run) -> str:
    """Return count, median, interval and the share of draws without a saving."""
    values = savings(run, "saving_fraction")
    if values is None:
        return "The draws of the saving are absent."
    none = float(np.mean(values <= 0))
    return (
        f"{len(values):,} draws: median saving against the baseline {units.percent(float(np.median(values)))}, "
        f"interval {units.between(run.summary.saving_interval)} (shaded); "
        f"{units.percent(none)} of the draws show no saving."
    )


DRAWS = Figure("draws", "How sure is the saving", "draws.parquet with saving_fraction", plot, describe)
