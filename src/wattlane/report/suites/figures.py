"""The figures of a suite's page: energy and attainment against load, one line a controller."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from wattlane.core.errors import UnknownNameError
from wattlane.core.extras import require
from wattlane.report import canvas, units
from wattlane.report.figures.base import Figure
from wattlane.report.suites.result import Row, Spread, SuiteRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

MARKERS = "osD^v<>phX*P"
DASHES = ("-", "--", ":")
HUES = (canvas.BASELINE, canvas.DECODE, canvas.PREFILL, canvas.OTHER, canvas.OVERHEAD)
Series = dict[str, list[tuple[float, float, bool]]]


def _series(run: SuiteRun, value: Callable[[Row], Spread | None]) -> Series:
    """Return (load, median, ranked) of each controller, in the order of the suite."""
    found: Series = {one.name: [] for one in run.suite.controllers}
    for table in run.main:
        for row in table.rows:
            spread = value(row)
            if spread is not None and row.controller in found:
                found[row.controller].append((table.load, spread.median, row.ranked))
    return {name: points for name, points in found.items() if points}


def _lines(run: SuiteRun, axes: Axes, series: Series) -> None:
    """Draw ranked points filled and the others hollow; ours and the default in colours of their own."""
    for number, (name, points) in enumerate(series.items()):
        ours, default = name == run.suite.ours, name == run.suite.default
        colour = canvas.PLAN if ours else canvas.INK if default else HUES[number % len(HUES)]
        dash = "-" if ours or default else DASHES[number // len(HUES) % len(DASHES)]
        marker, width = "o" if ours else MARKERS[number % len(MARKERS)], 2.0 if ours else 1.1
        x, y = [p[0] for p in points], [p[1] for p in points]
        axes.plot(x, y, color=colour, ls=dash, lw=width, zorder=4 if ours else 2)
        for kept in (True, False):
            at = [(p[0], p[1]) for p in points if p[2] is kept]
            if at:
                face = colour if kept else "none"
                axes.plot(*zip(*at, strict=True), ls="", marker=marker, ms=4.5, color=colour, mfc=face, zorder=5)
        axes.plot([], [], color=colour, ls=dash, lw=width, marker=marker, ms=4, label=run.title(name))
    loads = sorted({p[0] for points in series.values() for p in points})
    axes.set_xticks(loads, [units.percent(load, 0) for load in loads], fontsize=8)
    axes.set_xlim(loads[0] - 0.05, loads[-1] + 0.05)
    axes.set_xlabel("load, 100 % is the most that the tuned default carries")


def _energy(row: Row) -> Spread | None:
    return row.energy_j_per_good_token


def plot_energy(run: SuiteRun) -> Drawing | None:
    """Return joules per SLO-meeting token against load."""
    series = _series(run, _energy)
    if not series:
        return None
    drawing, (axes,) = canvas.panels(5.2)
    _lines(run, axes, series)
    ranked = [p[1] for points in series.values() for p in points if p[2]]
    axes.set_yscale("log")
    ticker = require("matplotlib.ticker")
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    if ranked:
        # overloaded controllers serve few tokens in time: their joules would leave the rest no room
        axes.set_ylim(0.85 * min(ranked), 1.25 * max(ranked))
    axes.set_ylabel("J per output token of requests that met the SLO")
    drawing.legend(loc="outside upper left", ncols=3, fontsize=7.5, handlelength=2.2)
    return drawing


def describe_energy(run: SuiteRun) -> str:
    """Return the best controller of each named load in words."""
    texts = []
    for table in run.main:
        best = next((row for row in table.rows if row.rank == 1), None)
        if best is None or (table.name is None and len(run.main) > 3):
            continue
        saving = units.ABSENT if best.saving is None else units.percent(best.saving.median)
        attained = units.ABSENT if best.attainment is None else units.attained(best.attainment.median)
        place = f"{units.percent(table.load, 0)} load"
        texts.append(f"{place}: {run.title(best.controller)}, {saving} less than the default at {attained} attainment")
    least = "; ".join(texts) or "no controller keeps the SLO"
    return f"Medians over seeds. Filled: keeps the SLO; hollow: does not and is not ranked. Least at {least}."


def plot_saving(run: SuiteRun) -> Drawing | None:
    """Return the saving against the default by load."""
    series = _series(run, lambda row: row.saving)
    series.pop(run.suite.default, None)
    if not series:
        return None
    drawing, (axes,) = canvas.panels(5.2)
    _lines(run, axes, series)
    axes.axhline(0.0, color=canvas.INK, lw=0.9)
    ranked = [p[1] for points in series.values() for p in points if p[2]]
    if ranked:
        axes.set_ylim(min(-0.06, 1.3 * min(ranked)), max(0.1, 1.12 * max(ranked)))
    axes.yaxis.set_major_formatter(lambda value, _: units.percent(value, 0))
    axes.set_ylabel("less energy per SLO-meeting token")
    drawing.legend(loc="outside upper left", ncols=3, fontsize=7.5, handlelength=2.2)
    return drawing


def describe_saving(run: SuiteRun) -> str:
    """Return where our controller and the best other one stand at each named load."""
    texts = []
    for table in run.main:
        others = [row for row in table.rows if row.ranked and not row.controller.startswith(run.suite.ours)]
        best = others[0] if others and table.name is not None else None
        if best is None or best.saving is None or best.attainment is None:
            continue
        place, title = f"{units.percent(table.load, 0)} load", run.title(best.controller)
        saved, kept = units.percent(best.saving.median), units.attained(best.attainment.median)
        texts.append(f"{place}: best of the others {title}, {saved} at {kept}")
    return f"Hollow: below the SLO, not ranked. {'; '.join(texts) or 'No other controller keeps the SLO'}."


def plot_attainment(run: SuiteRun) -> Drawing | None:
    """Return attainment against load, with the target."""
    series = _series(run, lambda row: row.attainment)
    if not series:
        return None
    drawing, (axes,) = canvas.panels(5.2)
    _lines(run, axes, series)
    target = run.suite.scenario.slo.attainment
    if target is not None:
        axes.axhline(target, color=canvas.MUTED, lw=1, ls=":")
        axes.annotate(
            f"target {units.target(target)}",
            (0.01, target),
            xycoords=("axes fraction", "data"),
            xytext=(0, -9),
            textcoords="offset points",
            bbox=canvas.BACKING,
        )
    axes.set_ylim(0.9, 1.004)
    axes.yaxis.set_major_formatter(lambda value, _: units.percent(value, 0))
    axes.set_ylabel("requests that met the SLO")
    drawing.legend(loc="outside upper left", ncols=3, fontsize=7.5, handlelength=2.2)
    return drawing


def describe_attainment(run: SuiteRun) -> str:
    """Return up to which load each controller keeps the SLO."""
    most: dict[str, float] = {}
    for table in run.main:
        for row in table.rows:
            if row.ranked:
                most[row.controller] = table.load
    by_load: dict[float, list[str]] = {}
    for name, load in most.items():
        by_load.setdefault(load, []).append(run.title(name))
    texts = [f"{units.percent(load, 0)}: {', '.join(names)}" for load, names in sorted(by_load.items(), reverse=True)]
    below = "Medians over seeds; below 90 % is outside the axis."
    return f"{below} Highest load at which the SLO is kept: {'; '.join(texts) or 'none'}."


NEEDS = "suite.json with at least one load"
ENERGY = Figure("energy", "Energy against load", NEEDS, plot_energy, describe_energy)
ATTAINMENT = Figure("attainment", "Attainment against load", NEEDS, plot_attainment, describe_attainment)
SAVING = Figure("saving", "Saving against load", NEEDS, plot_saving, describe_saving)
FIGURES: tuple[Figure[SuiteRun], ...] = (ENERGY, SAVING, ATTAINMENT)


def find(name: str) -> Figure[SuiteRun]:
    """Return the figure of that name; raise `UnknownNameError` listing all."""
    by_name = {figure.name: figure for figure in FIGURES}
    if name not in by_name:
        raise UnknownNameError("figure of a suite", name, by_name)
    return by_name[name]
