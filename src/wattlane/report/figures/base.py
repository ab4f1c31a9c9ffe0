"""What a figure is: a name, a title, a plot of a run, and the same values in words.

`plot` returns None when the run lacks what the figure shows; the page then says "absent".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from wattlane.core.errors import InputError
from wattlane.report import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


class Folder(Protocol):
    """What a figure draws: a study, a fit, anything that was read from a folder."""

    @property
    def folder(self) -> Path:
        """Where it was read from."""
        ...


R = TypeVar("R", bound=Folder)


@dataclass(frozen=True)
class Figure(Generic[R]):
    """One figure of the page. `describe` gives the caption; `needs` says what must be in the folder."""

    name: str
    title: str
    needs: str
    plot: Callable[[R], Drawing | None]
    describe: Callable[[R], str]

    def draw(self, run: R, prefix: str = "") -> str | None:
        """Return the figure as one `<svg>` element, or None when the run lacks what it shows."""
        with canvas.styled():
            drawing = self.plot(run)
            if drawing is None:
                return None
            return canvas.svg(drawing, f"{prefix}{self.name}", self.title, self.describe(run))

    def save(self, run: R, path: Path) -> Path:
        """Write the figure as a PNG; raise `InputError` when the run lacks what it shows."""
        with canvas.styled():
            drawing = self.plot(run)
            if drawing is None:
                raise InputError(f"{run.folder}: cannot draw {self.name}; expected {self.needs}")
            return canvas.png(drawing, path)
