"""Histogram of prompt and answer lengths, drawn with the bins the study wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wattlane.report import canvas, units
from wattlane.report.figures.base import Figure
from wattlane.report.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

SIDES = (("input", canvas.PREFILL), ("output", canvas.DECODE))
MOST_TICKS = 9
LOG_SPAN = 50.0  # from this ratio of largest to smallest edge on, the axis is logarithmic


def plot(run: Run) -> Drawing | None:
    """Return two panels, one bar a bin."""
    histogram = run.histogram
    if histogram is None:
        return None
    drawing, axes = canvas.panels(3.6, rows=2)
    for panel, (side, colour) in zip(axes, SIDES, strict=True):
        edges = np.asarray(histogram[f"{side}_edges"], dtype=float)
        counts = np.asarray(histogram[f"{side}_counts"], dtype=float)
        _bars(panel, edges, counts, colour)
        panel.set_ylabel("requests")
        panel.set_xlabel(f"{side} tokens of a request")
    return drawing


def _bars(panel: Axes, edges: np.ndarray, counts: np.ndarray, colour: str) -> None:
    positive = edges[edges > 0]
    logarithmic = len(positive) > 1 and positive[-1] / positive[0] > LOG_SPAN
    if logarithmic:
        panel.set_xscale("log")
        edges = np.maximum(edges, positive[0] / 2)
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    panel.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=colour, edgecolor=canvas.INK, lw=0.4)
    panel.grid(visible=False, axis="x")
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def describe(run: Run) -> str:
    """Return the number of bins and the percentiles in words."""
    traffic = run.summary.scenario.workload
    texts = []
    for side, _ in SIDES:
        bins = len((run.histogram or {}).get(f"{side}_counts", ()))
        known = getattr(traffic, f"{side}_tokens") or {}
        values = ", ".join(f"{name} {units.count(known.get(name))}" for name in ("mean", "p50", "p99", "max"))
        texts.append(f"{side} tokens in {bins} bins: {values}")
    return f"Length of requests; {'; '.join(texts)}."


LENGTHS = Figure("lengths", "Lengths of requests, with bins", "a histogram in workload.json", plot, describe)
