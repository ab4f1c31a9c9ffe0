"""A page of sections: the answer first, then titled sections of figures and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wattlane.report import template
from wattlane.report.tables import Table
from wattlane.report.template import Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of a page; `wide` gives each figure a row of its own."""

    title: str
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    words: Sequence[str] = ()
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """One result on the page; `sound` says whether the headline is what was hoped for."""

    id: str
    name: str
    headline: str
    lead: str
    sound: bool
    sections: Sequence[Section]
    warnings: Sequence[str] = ()


def render(title: str, items: Sequence[Item], footer: str = "") -> str:
    """Return the page as text; the same values give the same text."""
    return template.render("sections.html", title=title, items=items, footer=footer)
