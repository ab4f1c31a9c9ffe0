"""The figures of the page of a fit, one a file, in the order in which they are shown."""

from __future__ import annotations

from wattlane.core.errors import UnknownNameError
from wattlane.report.figures.base import Figure
from wattlane.report.fits.figures.groups import GROUPS
from wattlane.report.fits.figures.observed import OBSERVED
from wattlane.report.fits.figures.residuals import RESIDUALS
from wattlane.report.fits.result import FitRun

FIGURES: tuple[Figure[FitRun], ...] = (OBSERVED, GROUPS, RESIDUALS)


def find(name: str) -> Figure[FitRun]:
    """Return the figure of that name; raise `UnknownNameError` listing all."""
    by_name = {figure.name: figure for figure in FIGURES}
    if name not in by_name:
        raise UnknownNameError("figure of a fit", name, by_name)
    return by_name[name]
