"""What each knob contributed: the energy after each change on the way from baseline to plan, as a waterfall.

The path is cumulative: another order of the knobs would give other shares of the same total.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wattlane.report import canvas, units
from wattlane.report.figures.base import Figure
from wattlane.report.run import Run
from wattlane.report.summary import Knob

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


def setting(knob: str, value: Any) -> str:
    """Return the value of a knob for people: clocks in MHz, an unset clock as the maximum; words stay as they are."""
    if value is None:
        return UNSET.get(knob, units.ABSENT)
    scales = SCALES.get(knob)
    return units.words(value) if scales is None or isinstance(value, str) else units.exact(float(value), scales)


SCALES = {"clock_hz": units.CLOCK, "power_cap_w": units.POWER, "release_window_s": units.TIME}
UNSET = {"clock_hz": "maximum", "power_cap_w": "none"}
NAMES = {
    "max_num_seqs": "batch cap",
    "max_num_batched_tokens": "token budget",
    "clock_hz": "clock",
    "release_window_s": "release window",
    "power_cap_w": "power cap",
}


def label(step: Knob) -> str:
    """Return the knob and its change in two lines."""
    return f"{named(step)}\n{setting(step.knob, step.before)} → {setting(step.knob, step.to)}"


def named(step: Knob) -> str:
    """Return the knob by its name for people."""
    return NAMES.get(step.knob, step.knob.replace("_", " "))


def steps(run: Run) -> list[tuple[Knob, float, float]]:
    """Return (knob, energy before, energy after) in J for every step whose energies are known."""
    start = None if run.summary.baseline is None else run.summary.baseline.energy_j
    found = []
    for knob in run.summary.knobs:
        if start is None or knob.energy_j is None:
            return []
        found.append((knob, start, knob.energy_j))
        start = knob.energy_j
    return found


def plot(run: Run) -> Drawing | None:
    """Return the waterfall: baseline, one floating bar a knob, plan."""
    path = steps(run)
    if not path:
        return None
    first, last = path[0][1], path[-1][2]
    size, unit = units.scale([first], units.ENERGY)
    drawing, (axes,) = canvas.panels(0.8 + 0.46 * (len(path) + 2))
    names = ["baseline", *(label(step) for step, _, _ in path), "plan"]
    widest = max(first, last, *(after for _, _, after in path)) / size
    for i, value, colour in ((0, first, canvas.BASELINE), (len(names) - 1, last, canvas.PLAN)):
        axes.barh(i, value / size, height=0.6, color=colour)
        axes.text(value / size + 0.012 * widest, i, units.digits(value / size), va="center", fontweight="bold")
    for i, (_, before, after) in enumerate(path, start=1):
        low, high = sorted((before / size, after / size))
        axes.barh(
            i, high - low, left=low, height=0.6, color=canvas.PLAN if after <= before else canvas.BASELINE, alpha=0.55
        )
        axes.plot([before / size] * 2, [i - 0.7, i - 0.3], color=canvas.MUTED, lw=0.8)
        axes.text(high + 0.012 * widest, i, units.change(first, first + after - before), va="center")
    axes.plot([last / size] * 2, [len(names) - 1.7, len(names) - 1.3], color=canvas.MUTED, lw=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, widest * 1.16)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"energy of the whole workload, {unit}")
    return drawing


def describe(run: Run) -> str:
    """Return each step in words."""
    path = steps(run)
    if not path:
        return "What each knob contributed is absent."
    texts = [
        f"{label(step).replace(chr(10), ' ')}: {units.change(path[0][1], path[0][1] + after - before)}"
        for step, before, after in path
    ]
    ends = units.row([path[0][1], path[-1][2]], units.ENERGY)
    return (
        f"From {ends[0]} to {ends[1]}, one knob after another, in % of the baseline: {'; '.join(texts)}. "
        "Another order would divide the same total in another way."
    )


KNOBS = Figure("knobs", "What each knob contributed", "knobs in summary.json", plot, describe)
