"""Error of energy on each group while it was left out of the fit, for the first column of groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattlane.report import canvas, units
from wattlane.report.figures.base import Figure
from wattlane.report.fits import tables
from wattlane.report.fits.result import FitRun, Group

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

MOST = 16


def groups(run: FitRun) -> list[Group]:
    """Return the groups that were scored, as many as fit."""
    first = run.fit.held_out[0].per_group if run.fit.held_out else []
    return [one for one in first if one.energy_j.mape is not None][:MOST]


def plot(run: FitRun) -> Drawing | None:
    """Return one bar a group: its mean absolute percentage error."""
    shown = groups(run)
    if not shown:
        return None
    drawing, (axes,) = canvas.panels(0.9 + 0.27 * len(shown))
    values = [one.energy_j.mape or 0.0 for one in shown]
    axes.barh(range(len(shown)), values, height=0.66, color=canvas.BASELINE)
    for i, value in enumerate(values):
        axes.text(value, i, f" {units.percent(value)}", va="center", fontsize=8)
    axes.set_yticks(range(len(shown)), [one.group for one in shown])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15 * max(values) or 1.0)
    axes.xaxis.set_major_formatter(lambda value, _: units.percent(value, 0))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_ylabel(tables.group(run.fit.held_out[0].by))
    axes.set_xlabel("MAPE of energy while the group was left out")
    return drawing


def describe(run: FitRun) -> str:
    """Return the best and the worst group in words."""
    shown = sorted(groups(run), key=lambda one: one.energy_j.mape or 0.0)
    first, last = shown[0], shown[-1]
    more = run.fit.held_out[0].groups - len(shown)
    tail = f" {more} more groups are not drawn." if more > 0 else ""
    return (
        f"Least error {units.percent(first.energy_j.mape)} ({tables.group(run.fit.held_out[0].by)} {first.group}), "
        f"largest {units.percent(last.energy_j.mape)} ({last.group}).{tail}"
    )


GROUPS = Figure("groups", "Groups left out", "column with at least two groups", plot, describe)
