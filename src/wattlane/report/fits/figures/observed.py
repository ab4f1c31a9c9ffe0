"""Fitted against measured, energy and runtime, both axes logarithmic; the diagonal is a perfect fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wattlane.report import canvas, units
from wattlane.report.figures.base import Figure
from wattlane.report.fits import tables
from wattlane.report.fits.result import FitRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

SIDES = (("energy_j", "energy, J"), ("runtime_s", "runtime, s"))
SERIES = (("held_out", "group left out", canvas.BASELINE, "x"), ("fitted", "seen", canvas.PLAN, "o"))


def plot(run: FitRun) -> Drawing | None:
    """Return two panels, a point a run and prediction; predictions below zero stand on the lower edge."""
    if run.runs is None:
        return None
    drawing, axes = canvas.panels(3.1, columns=2)
    for panel, (side, label) in zip(axes, SIDES, strict=True):
        _panel(panel, run, side)
        panel.set_xlabel(f"measured {label}")
        panel.set_ylabel(f"predicted {label}")
    handles, names = axes[0].get_legend_handles_labels()
    drawing.legend(handles, names, loc="outside upper left", ncols=3, handletextpad=0.2)
    return drawing


def _panel(panel: Axes, run: FitRun, side: str) -> None:
    assert run.runs is not None
    measured = run.runs[side].cast(float).to_numpy()
    floor = 0.5 * float(measured.min())
    below = 0
    for name, label, colour, marker in SERIES:
        column = f"{name}_{side}"
        if column not in run.runs.columns:
            continue
        found = run.runs[column].cast(float).to_numpy().astype(float)
        known = np.isfinite(found)
        below += int(np.sum(found[known] <= 0))
        drawn = np.maximum(found[known], floor)
        panel.scatter(measured[known], drawn, label=label, c=colour, marker=marker, s=14, linewidths=0.8, alpha=0.75)
    ends = [floor, 2 * float(measured.max())]
    panel.plot(ends, ends, color=canvas.MUTED, lw=0.9, label="perfect")
    if below:
        words = f"{below} predictions below zero"
        panel.annotate(
            words, (0.03, 0.98), xycoords="axes fraction", va="top", color=canvas.BASELINE, bbox=canvas.BACKING
        )
    canvas.plain_log(panel)
    panel.set_yscale("log")


def describe(run: FitRun) -> str:
    """Return the errors in words."""
    texts = []
    for side, label in SIDES:
        one = run.fit.sides[side].in_sample
        texts.append(
            f"{label.partition(',')[0]} MAPE {units.percent(one.mape)}, median {units.percent(one.median_ape)}"
        )
    left = (
        f"; crosses: the run's {tables.group(run.fit.held_out[0].by)} was left out of the fit"
        if run.fit.held_out
        else ""
    )
    return f"Runs the fit has seen: {'; '.join(texts)}{left}."


OBSERVED = Figure("observed", "Predicted against measured", "runs.parquet", plot, describe)
