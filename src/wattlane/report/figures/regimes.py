"""What each phase waits for: shares of its time along the batch (decode) and the prompt (prefill), by the law."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattlane.core.extras import require
from wattlane.report import canvas
from wattlane.report.figures.base import Figure
from wattlane.report.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

PARTS = (
    ("arithmetic", canvas.PREFILL),
    ("memory", canvas.DECODE),
    ("links", canvas.PLAN),
    ("launches", canvas.IDLE),
    ("power limit", canvas.BASELINE),
)
PANELS = (
    ("prefill", "prompt_tokens", "prompt, tokens", "input_tokens"),
    ("decode", "batch", "batch, sequences", "batch"),
)


def plot(run: Run) -> Drawing | None:
    """Return two stacked panels, prefill and decode, with the deployment marked."""
    body = run.regimes
    if body is None:
        return None
    drawing, axes = canvas.panels(2.6, columns=2)
    for panel, (phase, key, words, asked) in zip(axes, PANELS, strict=True):
        rows = body["curves"][phase]
        where = [row[key] for row in rows]
        # a file that knows no time at the power limit has it among its other parts
        stack = [[row.get(name, 0.0) for row in rows] for name, _ in PARTS]
        panel.stackplot(where, stack, colors=[colour for _, colour in PARTS], linewidth=0)
        panel.axvline(body[asked], color=canvas.INK, lw=0.9, ls=":")
        panel.set_xscale("log", base=2)
        panel.set_xlim(where[0], where[-1])
        panel.set_ylim(0, 1)
        panel.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
        panel.set_xlabel(words)
        panel.set_title(f"{phase}: {bounds(run)[phase]}", fontsize=9)
    patch = require("matplotlib.patches").Patch
    handles = [patch(color=colour, label=name) for name, colour in PARTS]
    drawing.legend(handles=handles, loc="outside upper left", ncols=5, handlelength=1, columnspacing=1.2)
    return drawing


def bounds(run: Run) -> dict[str, str]:
    """Return what bounds each phase of the deployment, by phase."""
    body = run.regimes
    return {} if body is None else {phase["phase"]: f"{phase['regime']['bound']}-bound" for phase in body["phases"]}


def describe(run: Run) -> str:
    """Return bounds, shares and the knobs that pay, in words."""
    body = run.regimes
    if body is None:
        return "What each phase waits for is absent."
    texts = []
    for phase in body["phases"]:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in phase["shares"].items() if share >= 0.005)
        pays = [f"{e['knob']} {e['change']}" for e in phase["effects"] if e["verdict"] == "pays"]
        texts.append(
            f"{phase['phase']} {bounds(run)[phase['phase']]}: {shares} of its time; "
            f"pays in J/token: {', '.join(pays) or 'nothing shown'}"
        )
    return (
        f"Modelled shares of time at batch {body['batch']:g}, {body['input_tokens']:.0f} in, "
        f"{body['output_tokens']:.0f} out (dotted). {'. '.join(texts)}."
    )


REGIMES = Figure("regimes", "What each phase waits for", "regimes.json", plot, describe)
