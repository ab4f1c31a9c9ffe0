"""What every page shares: the templates, the style with the palette in it, and figures with their captions."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any

from wattlane.core.extras import require
from wattlane.core.version import VERSION
from wattlane.report import canvas, units
from wattlane.report.figures.base import Figure, R


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure on the page: `svg` is None when the run lacks what it shows."""

    name: str
    title: str
    svg: str | None
    caption: str


def render(name: str, **values: Any) -> str:
    """Return the template of that name filled in; the same values give the same text."""
    jinja2 = require("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("wattlane.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    markup = require("markupsafe").Markup
    environment.filters["svg"] = markup
    style = resources.files("wattlane.report.templates").joinpath("page.css").read_text(encoding="utf-8")
    shared = {"style": markup(_variables() + style), "version": VERSION, "absent": units.ABSENT}
    return str(environment.get_template(name).render(**values, **shared))


def picture(entry: Figure[R], run: R, prefix: str) -> Picture:
    """Return a figure with its caption, or with the reason why it is absent."""
    drawn = entry.draw(run, prefix)
    caption = entry.describe(run) if drawn is not None else f"{units.ABSENT}: this run has no {entry.needs}."
    return Picture(entry.name, entry.title, drawn, caption)


def _variables() -> str:
    """Return the palette as CSS variables, for light, for dark on a screen."""
    light = "".join(f"--{name}:{colour};" for colour, (name, _) in canvas.PALETTE.items())
    dark = "".join(f"--{name}:{colour};" for name, colour in canvas.PALETTE.values())
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme: dark){{:root{{{dark}}}}}\n"
