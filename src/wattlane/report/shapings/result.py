"""The folder of an arrival shaping study as the page reads it: `shaping.json`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from wattlane.report.result_files import holds, read_result
from wattlane.report.summary import Part, Targets

FILE, KIND = "shaping.json", "arrival shaping"


class Band(Part):
    """A mean with its interval over seeds."""

    mean: float
    lo: float
    hi: float


class Measures(Part):
    """What one cell came to."""

    energy_j_per_request: Band
    slo_attainment: Band
    ttft_mean_s: Band
    ttft_p99_s: Band
    tbt_p99_s: Band
    mean_batch: Band


class Cell(Measures):
    """Requests at one rate, in one shape, on one engine; effects in J a request against the base."""

    rate_rps: float
    shape: str
    engine: str
    idle_floor_j: float
    above_idle_floor_j: Band
    effects_j: dict[str, Band]


class Window(Measures):
    """Poisson arrivals held to the end of a window."""

    rate_rps: float
    window_s: float
    saving_fraction: Band
    added_ttft_s: Band
    verdict: str


class Base(Part):
    """What effects count from."""

    rate_rps: float
    shape: str
    engine: str


class Shaping(Part):
    """The content of `shaping.json`."""

    workload: str
    model: str
    gpu: str
    precision: str
    law: str
    origin: str
    boundary: str
    slo: Targets
    grid: dict[str, Any]
    idle_w: float
    base: Base
    cells: list[Cell]
    windows: list[Window]
    findings: list[str]
    provenance: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class ShapingRun:
    """One study: its `folder` and what `shaping.json` says."""

    folder: Path
    shaping: Shaping

    @property
    def name(self) -> str:
        """What the page calls it."""
        return f"Arrival shaping: {self.shaping.workload} on {self.shaping.gpu}"

    @property
    def rates(self) -> list[float]:
        """The rates, in the order of the file."""
        return list(dict.fromkeys(cell.rate_rps for cell in self.shaping.cells))

    @property
    def shapes(self) -> list[str]:
        """The shapes, in the order of the file."""
        return list(dict.fromkeys(cell.shape for cell in self.shaping.cells))

    @property
    def engines(self) -> list[str]:
        """The engine limits, in the order of the file; the first is the one effects count from."""
        return list(dict.fromkeys(cell.engine for cell in self.shaping.cells))

    def cell(self, rate_rps: float, shape: str, engine: str) -> Cell | None:
        """Return a cell, None where it was not replayed."""
        asked = (rate_rps, shape, engine)
        return next((c for c in self.shaping.cells if (c.rate_rps, c.shape, c.engine) == asked), None)


def is_shaping(path: Path) -> bool:
    """Return whether a folder, or a `shaping.json`, is that of a shaping study."""
    return holds(path, FILE)


def load(path: Path) -> ShapingRun:
    """Return the study in a folder, or of a `shaping.json`.

    Raises:
        InputError: there is no such study.
        FileFormatError: its file cannot be trusted.
    """
    return ShapingRun(*read_result(path, FILE, KIND, Shaping, "wattlane shaping WORKLOAD -o FOLDER"))
