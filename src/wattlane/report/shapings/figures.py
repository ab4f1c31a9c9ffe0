"""The figures of arrival shaping: joules by rate, shape and engine limit; what a release window saves and adds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattlane.core.errors import UnknownNameError
from wattlane.core.extras import require
from wattlane.report import canvas, units
from wattlane.report.figures.base import Figure
from wattlane.report.shapings.result import Cell, ShapingRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

HUES = (canvas.BASELINE, canvas.DECODE, canvas.PREFILL, canvas.PLAN, canvas.INK, canvas.OTHER)
MARKERS = "osD^vX"
VERDICTS = (("pays", "o"), ("only adds latency", "x"), ("misses the SLO", "s"))
HOLLOW = "misses the SLO"
DODGE = 0.03  # of the rate, so that intervals at one rate stand beside each other


def _plain(axes: Axes, which: str) -> None:
    ticker = require("matplotlib.ticker")
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(ticker.NullFormatter())


def _against_rate(run: ShapingRun, axes: Axes, engine: str, relative: bool) -> None:
    """Draw a line a shape: joules per request, or those over the mean of the base's shape at the same rate."""
    for number, shape in enumerate(run.shapes):
        cells = [c for rate in run.rates if (c := run.cell(rate, shape, engine)) is not None]
        over = [_scale(run, c) if relative else 1.0 for c in cells]
        shift = 1.0 + (DODGE * (number - (len(run.shapes) - 1) / 2) if relative else 0.0)
        y = [c.energy_j_per_request.mean / by for c, by in zip(cells, over, strict=True)]
        low = [v - c.energy_j_per_request.lo / by for v, c, by in zip(y, cells, over, strict=True)]
        high = [c.energy_j_per_request.hi / by - v for v, c, by in zip(y, cells, over, strict=True)]
        colour, marker = HUES[number % len(HUES)], MARKERS[number % len(MARKERS)]
        x = [c.rate_rps * shift for c in cells]
        axes.errorbar(x, y, yerr=[low, high], color=colour, marker=marker, ms=3.5, lw=1.0, capsize=2, label=shape)
    axes.set_xscale("log")
    _plain(axes, "x")


def _scale(run: ShapingRun, cell: Cell) -> float:
    """Return the mean joules of the base's shape at the rate and engine of a cell; the cell's own without it."""
    other = run.cell(cell.rate_rps, run.shaping.base.shape, cell.engine) or cell
    return other.energy_j_per_request.mean


def plot_energy(run: ShapingRun) -> Drawing | None:
    """Return joules per request against rate, a row an engine limit: absolute, and over those of the base's shape."""
    if not run.shaping.cells:
        return None
    drawing, panels = canvas.panels(1.0 + 2.1 * len(run.engines), rows=len(run.engines), columns=2)
    for row, engine in enumerate(run.engines):
        absolute, relative = panels[2 * row], panels[2 * row + 1]
        _against_rate(run, absolute, engine, False)
        _against_rate(run, relative, engine, True)
        floor = [run.shaping.idle_w / rate for rate in run.rates]
        absolute.plot(run.rates, floor, color=canvas.MUTED, ls=":", lw=1.2, label="idle power ÷ rate")
        absolute.set_yscale("log")
        _plain(absolute, "y")
        absolute.set_title(engine, loc="left", fontsize=8.5)
        absolute.set_ylabel("J per request")
        relative.set_ylim(bottom=0.0)
        relative.set_ylabel(f"÷ {run.shaping.base.shape}")
    for axes in panels[-2:]:
        axes.set_xlabel("requests/s")
    handles, labels = panels[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside upper left", ncols=4, fontsize=8, handlelength=1.8)
    return drawing


def describe_energy(run: ShapingRun) -> str:
    """Return how far rate and shape move the joules of a request."""
    engine, base = run.engines[0], run.shaping.base
    rates = [c for c in run.shaping.cells if c.shape == base.shape and c.engine == engine]
    first, last = min(rates, key=_rate), max(rates, key=_rate)
    lowest = [c for c in run.shaping.cells if c.rate_rps == first.rate_rps and c.engine == engine]
    least, most = min(lowest, key=_joules), max(lowest, key=_joules)
    return (
        f"{base.shape.capitalize()} arrivals on {engine}: {_words(first)} at {first.rate_rps:g} requests/s, "
        f"{_words(last)} at {last.rate_rps:g}. At {first.rate_rps:g} requests/s shapes span {_words(least)} "
        f"({least.shape}) to {_words(most)} ({most.shape}). Right: over the mean of {base.shape} arrivals "
        "at the same rate. Bars: 95 % intervals over seeds."
    )


def _rate(cell: Cell) -> float:
    return cell.rate_rps


def _joules(cell: Cell) -> float:
    return cell.energy_j_per_request.mean


def _words(cell: Cell) -> str:
    return units.one(cell.energy_j_per_request.mean, units.ENERGY)


def plot_window(run: ShapingRun) -> Drawing | None:
    """Return the saving of a window against the latency it adds, a line a rate, its verdict as the marker."""
    if not run.shaping.windows:
        return None
    drawing, (axes,) = canvas.panels(3.8)
    for number, rate in enumerate(run.rates):
        rows = [row for row in run.shaping.windows if row.rate_rps == rate]
        colour = HUES[number % len(HUES)]
        x, y = [row.added_ttft_s.mean for row in rows], [row.saving_fraction.mean for row in rows]
        low = [row.saving_fraction.mean - row.saving_fraction.lo for row in rows]
        high = [row.saving_fraction.hi - row.saving_fraction.mean for row in rows]
        axes.errorbar(x, y, yerr=[low, high], color=colour, lw=1.0, capsize=2, label=f"{rate:g} requests/s")
        for verdict, marker in VERDICTS:
            at = [(a, b) for a, b, row in zip(x, y, rows, strict=True) if row.verdict == verdict]
            if at:
                face = "none" if verdict == HOLLOW else colour
                axes.plot(*zip(*at, strict=True), ls="", marker=marker, ms=5, color=colour, mfc=face, zorder=4)
    for verdict, marker in VERDICTS:
        face = "none" if verdict == HOLLOW else canvas.MUTED
        axes.plot([], [], ls="", marker=marker, ms=5, color=canvas.MUTED, mfc=face, label=verdict)
    axes.axhline(0.0, color=canvas.MUTED, lw=0.8)
    axes.set_xscale("log")
    _plain(axes, "x")
    axes.yaxis.set_major_formatter(lambda value, _: units.percent(value, 1))
    axes.set_xlabel("added mean TTFT, s")
    axes.set_ylabel("less energy per request")
    drawing.legend(loc="outside upper left", ncols=3, fontsize=8, handlelength=1.8)
    return drawing


def describe_window(run: ShapingRun) -> str:
    """Return what the study found at each rate."""
    return f"{' '.join(run.shaping.findings)} Bars: 95 % intervals over seeds, differences paired."


NEEDS = "shaping.json with cells and windows"
ENERGY = Figure("energy", "Energy per request by rate, shape and engine", NEEDS, plot_energy, describe_energy)
WINDOW = Figure("window", "What a release window saves and adds", NEEDS, plot_window, describe_window)
FIGURES: tuple[Figure[ShapingRun], ...] = (ENERGY, WINDOW)


def find(name: str) -> Figure[ShapingRun]:
    """Return the figure of that name; raise `UnknownNameError` listing all."""
    by_name = {figure.name: figure for figure in FIGURES}
    if name not in by_name:
        raise UnknownNameError("figure of arrival shaping", name, by_name)
    return by_name[name]
