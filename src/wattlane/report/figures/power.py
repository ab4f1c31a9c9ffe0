"""Power over time of baseline and plan, all replicas together; bins are averaged until they fit the width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wattlane.report import canvas, units
from wattlane.report.figures.base import Figure
from wattlane.report.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

MOST_BINS = 180
LINES = (("baseline", canvas.BASELINE), ("plan", canvas.PLAN))


def series(run: Run) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return (bin start s, mean W) of each line, at most `MOST_BINS` bins."""
    table = run.power
    if table is None:
        return {}
    found = {}
    for name, _ in LINES:
        part = table.filter((table["run"] == name) & table["power_w"].is_not_null()).sort("t_s")
        if len(part) < 2:
            continue
        width = -(-len(part) // MOST_BINS)
        starts = np.arange(0, len(part), width)
        power_w = part["power_w"].to_numpy()
        sizes = np.diff(np.append(starts, len(part)))
        found[name] = (part["t_s"].to_numpy()[starts], np.add.reduceat(power_w, starts) / sizes)
    return found


def plot(run: Run) -> Drawing | None:
    """Return two step lines."""
    lines = series(run)
    if not lines:
        return None
    drawing, (axes,) = canvas.panels(2.9)
    size, unit = units.scale([float(power_w.max()) for _, power_w in lines.values()], units.POWER)
    last_s = max(float(t_s[-1]) for t_s, _ in lines.values())
    per, time_unit = (3600.0, "h") if last_s > 3 * 3600 else (60.0, "min")
    for name, colour in LINES:
        if name not in lines:
            continue
        t_s, power_w = lines[name]
        style = "-" if name == "plan" else (0, (4, 1.2))
        axes.step(t_s / per, power_w / size, where="post", color=colour, lw=1.3, ls=style, label=name)
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, last_s / per)
    axes.set_xlabel(f"time since the first arrival, {time_unit}")
    axes.set_ylabel(f"power of all replicas, {unit}")
    drawing.legend(loc="outside upper left", ncols=2, handlelength=2.2)
    return drawing


def describe(run: Run) -> str:
    """Return means and peaks in words."""
    texts = []
    for name, (t_s, power_w) in series(run).items():
        mean, peak = units.row([float(power_w.mean()), float(power_w.max())], units.POWER)
        texts.append(f"{name} {mean} on average, {peak} at most in a bin of {units.duration(float(t_s[1] - t_s[0]))}")
    return f"Power of all replicas together: {'; '.join(texts)}."


POWER = Figure("power", "Power over time", "power.parquet with run, t_s, power_w", plot, describe)
