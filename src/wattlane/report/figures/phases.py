"""Energy per completed request, stacked by phase, for every deployment of the study.

Two deployments can differ in which requests they complete, so the bars are per request, not totals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattlane.core.extras import require
from wattlane.report import canvas, units
from wattlane.report.figures.base import Figure
from wattlane.report.run import Run
from wattlane.report.summary import Case

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

PARTS = (
    ("prefill", "prefill_j", canvas.PREFILL),
    ("decode", "decode_j", canvas.DECODE),
    ("idle", "idle_j", canvas.IDLE),
)
NARROWEST_LABELLED = 0.07


def cases(run: Run) -> list[tuple[str, Case]]:
    """Return the deployments whose energy by phase is known."""
    found = (
        ("baseline", run.summary.baseline),
        ("tuned baseline", run.summary.tuned_baseline),
        ("plan without clocks", run.summary.without_clocks),
        ("plan", run.summary.plan),
    )
    return [(name, case) for name, case in found if case is not None and _parts(case) is not None]


def _parts(case: Case) -> list[float] | None:
    """Return J per completed request for each phase, or None when one is absent."""
    if not case.completed:
        return None
    values = [getattr(case, field) for _, field, _ in PARTS]
    return None if None in values else [value / case.completed for value in values]


def plot(run: Run) -> Drawing | None:
    """Return one stacked bar a deployment."""
    shown = cases(run)
    if not shown:
        return None
    drawing, (axes,) = canvas.panels(0.95 + 0.5 * len(shown))
    stacks = [_parts(case) or [] for _, case in shown]
    size, unit = units.scale([sum(stack) for stack in stacks], units.ENERGY)
    widest = max(sum(stack) for stack in stacks) / size
    for i, stack in enumerate(stacks):
        left = 0.0
        for (_, _, colour), value in zip(PARTS, stack, strict=True):
            width = value / size
            axes.barh(i, width, left=left, height=0.62, color=colour)
            if width > NARROWEST_LABELLED * widest:
                axes.text(
                    left + width / 2,
                    i,
                    units.digits(width),
                    ha="center",
                    va="center",
                    fontsize=8,
                    color=canvas.ON_COLOUR,
                )
            left += width
        axes.text(left + 0.012 * widest, i, units.digits(left), va="center", fontsize=9, fontweight="bold")
    axes.set_yticks(range(len(shown)), [name for name, _ in shown])
    axes.invert_yaxis()
    axes.set_xlim(0, widest * 1.13)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"{unit} per completed request")
    patch = require("matplotlib.patches").Patch
    handles = [patch(color=colour, label=name) for name, _, colour in PARTS]
    drawing.legend(handles=handles, loc="outside upper left", ncols=3, handlelength=1, columnspacing=1.2)
    return drawing


def describe(run: Run) -> str:
    """Return the same values in words."""
    texts = []
    for name, case in cases(run):
        stack = _parts(case) or []
        total, *each = units.row([sum(stack), *stack], units.ENERGY)
        split = ", ".join(f"{part} {text}" for (part, _, _), text in zip(PARTS, each, strict=True))
        texts.append(f"{name} {total} ({split})")
    return f"Energy per completed request: {'; '.join(texts)}."


PHASES = Figure("phases", "Energy by phase", "prefill_j, decode_j and idle_j in summary.json", plot, describe)
