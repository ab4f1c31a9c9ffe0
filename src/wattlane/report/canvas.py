"""From a matplotlib figure to SVG that takes its colours and font from the page, or to a PNG.

Text stays text. Each colour of the palette becomes a CSS variable with the printed colour behind it, so that one
drawing is readable on light and dark. Hues are of Okabe and Ito (2008), told apart with any colour vision.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wattlane.core.extras import require
from wattlane.core.files import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

INK, MUTED, GRID, PAPER = "#1b1f24", "#57606a", "#d8dee4", "#ffffff"
ON_COLOUR = "#10151a"  # text on a coloured bar, the same on light and dark
BASELINE, PLAN, OTHER = "#d55e00", "#0072b2", "#8a939c"
PREFILL, DECODE, IDLE, OVERHEAD = "#cc79a7", "#009e73", "#9aa4ae", "#5d6670"
# colour of the light page -> (CSS variable, colour of the dark page)
PALETTE = {
    INK: ("ink", "#e6edf3"),
    MUTED: ("muted", "#9da7b1"),
    GRID: ("grid", "#30363d"),
    PAPER: ("paper", "#0d1117"),
    ON_COLOUR: ("on-colour", ON_COLOUR),
    BASELINE: ("baseline", "#f0883e"),
    PLAN: ("plan", "#58b4f0"),
    OTHER: ("other", "#7d8790"),
    PREFILL: ("prefill", "#e39cc4"),
    DECODE: ("decode", "#3cc79a"),
    IDLE: ("idle", "#8b95a0"),
    OVERHEAD: ("overhead", "#b0bac4"),
}
WIDTH_IN = 5.4
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "wattlane",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
_DROPPED = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>", re.DOTALL)
_FONT = re.compile(r"font: (?:(\d+) )?([\d.]+)px [^;\"]*")
_TAG = re.compile(r"<[^>]+>")
_LONG = re.compile(r"(\d+\.\d{2})\d+")
_COLOUR = re.compile("|".join(PALETTE))


# behind words that stand among points
BACKING = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 0.8}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the house style, whatever the user's own settings are."""
    matplotlib = require("matplotlib")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def panels(height_in: float, rows: int = 1, columns: int = 1) -> tuple[Drawing, list[Axes]]:
    """Return an empty drawing and its axes, row by row."""
    drawing = require("matplotlib.figure").Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    axes = drawing.subplots(rows, columns, squeeze=False)
    return drawing, list(axes.flat)


def plain_log(panel: Axes) -> None:
    """Make the x axis logarithmic with plain numbers at 1, 2 and 5 of each decade, or at decades where it is long."""
    ticker = require("matplotlib.ticker")
    panel.set_xscale("log")
    low, high = panel.get_xlim()
    if low > 0 and high < 1e3 * low:
        panel.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.xaxis.set_minor_formatter(ticker.NullFormatter())


def svg(drawing: Drawing, name: str, title: str, description: str) -> str:
    """Return the drawing as one `<svg>` element with a title and a description, ids prefixed by `name`."""
    from html import escape

    sink = io.StringIO()
    drawing.savefig(sink, format="svg", metadata={"Date": None, "Creator": None})
    text = _DROPPED.sub("", sink.getvalue()).strip()
    text = _FONT.sub(lambda m: f"font: {m[1] or 400} {m[2]}px var(--sans, sans-serif)", text)
    text = _COLOUR.sub(lambda m: f"var(--{PALETTE[m[0]][0]}, {m[0]})", _TAG.sub(lambda m: _LONG.sub(r"\1", m[0]), text))
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", text)
    box = re.search(r'viewBox="([^"]+)"', text)
    assert box is not None
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{box[1]}" '
        f'role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
    )
    body = text[text.index(">", text.index("<svg")) + 1 :]
    return re.sub(r"\n\s*", "\n", opening + body)


def png(drawing: Drawing, path: Path) -> Path:
    """Write the drawing as a PNG on white and return its path."""
    with atomic(path) as temporary:
        drawing.savefig(temporary, format="png", dpi=200, facecolor="white", metadata={"Software": None})
    return path
