"""Relative residuals of energy against what the law knows: input tokens, output tokens, its own value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wattlane.report import canvas, units
from wattlane.report.figures.base import Figure
from wattlane.report.fits.result import FitRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

AXES = (("input_tokens", "input tokens"), ("output_tokens", "output tokens"), ("energy_j", "measured energy, J"))
LIMIT = 1.0  # residuals further off stand on the edge of the panel


def plot(run: FitRun) -> Drawing | None:
    """Return three panels over one another; a band marks ±10 %."""
    if run.runs is None:
        return None
    measured = run.runs["energy_j"].cast(float).to_numpy()
    off = run.runs["fitted_energy_j"].cast(float).to_numpy() / measured - 1.0
    drawing, axes = canvas.panels(5.6, rows=3)
    reach = min(LIMIT, max(0.15, 1.1 * float(np.abs(off).max())))
    for panel, (column, label) in zip(axes, AXES, strict=True):
        x = run.runs[column].cast(float).to_numpy()
        panel.axhspan(-0.1, 0.1, color=canvas.GRID, alpha=0.6, lw=0)
        panel.axhline(0, color=canvas.MUTED, lw=0.9)
        out = np.abs(off) > reach
        panel.scatter(x[~out], off[~out], s=13, c=canvas.PLAN, alpha=0.7, linewidths=0)
        if out.any():
            panel.scatter(x[out], np.clip(off[out], -reach, reach), s=22, c=canvas.BASELINE, marker="^", linewidths=0)
        canvas.plain_log(panel)
        panel.set_ylim(-1.08 * reach, 1.08 * reach)
        panel.yaxis.set_major_formatter(lambda value, _: units.percent(value, 0))
        panel.set_xlabel(label)
    axes[1].set_ylabel("fitted / measured − 1")
    return drawing


def describe(run: FitRun) -> str:
    """Return the mean residual and how many runs lie beyond the axis."""
    one = run.fit.sides["energy_j"].in_sample
    words = f"Energy of {one.rows} runs: mean residual {units.percent(one.bias)}, worst {units.percent(one.worst_ape)}."
    edge = " Triangles lie beyond the axis." if (one.worst_ape or 0) > LIMIT else ""
    return f"{words} The band is ±10{units.GLUE}%; a pattern means that a term is missing.{edge}"


RESIDUALS = Figure("residuals", "Residuals", "runs.parquet", plot, describe)
