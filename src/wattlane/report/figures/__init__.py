"""The figures of the page, one a file, in the order in which they are shown."""

from __future__ import annotations

from wattlane.core.errors import UnknownNameError
from wattlane.report.figures.base import Figure
from wattlane.report.figures.draws import DRAWS
from wattlane.report.figures.frontier import FRONTIER
from wattlane.report.figures.knobs import KNOBS
from wattlane.report.figures.lengths import LENGTHS
from wattlane.report.figures.phases import PHASES
from wattlane.report.figures.power import POWER
from wattlane.report.figures.regimes import REGIMES
from wattlane.report.run import Run

FIGURES: tuple[Figure[Run], ...] = (FRONTIER, KNOBS, PHASES, DRAWS, POWER, LENGTHS, REGIMES)


def find(name: str) -> Figure[Run]:
    """Return the figure of that name; raise `UnknownNameError` listing all."""
    by_name = {figure.name: figure for figure in FIGURES}
    if name not in by_name:
        raise UnknownNameError("figure", name, by_name)
    return by_name[name]
