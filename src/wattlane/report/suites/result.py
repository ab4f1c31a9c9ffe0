"""The folder of a suite as the page reads it: `suite.json`. Absent values are None."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from wattlane.report.result_files import holds, read_result
from wattlane.report.summary import Part, Targets

FILE, KIND = "suite.json", "suite"


class Spread(Part):
    """A median over seeds and their range."""

    median: float
    lo: float
    hi: float


class Percentiles(Part):
    """Percentiles over draws of the clock prior."""

    p10: float
    p50: float
    p90: float


class Row(Part):
    """One controller at one load; only a controller that keeps the SLO is ranked."""

    controller: str
    ranked: bool
    rank: int | None = None
    energy_j_per_good_token: Spread | None = None
    energy_j_per_request: Spread | None = None
    attainment: Spread | None = None
    ttft_p50_s: Spread | None = None
    ttft_p99_s: Spread | None = None
    tbt_p50_s: Spread | None = None
    tbt_p99_s: Spread | None = None
    mean_power_w: Spread | None = None
    busy_share: Spread | None = None
    saving: Spread | None = None
    saving_without_tail: Spread | None = None
    shares: dict[str, float] = Field(default_factory=dict)
    refused: int = 0
    knobs: dict[str, float] = Field(default_factory=dict)
    tuning_attainment: float | None = None


class LoadTable(Part):
    """All controllers at one load."""

    traffic: str
    load: float
    name: str | None = None
    rows: list[Row]


class Described(Part):
    """A controller as its source has it; an empty `claim` is none to compare with."""

    name: str
    title: str
    source: str
    claim: str = ""
    against: str = ""
    rule: str = ""
    privileges: str = ""


class Loss(Part):
    """Where a controller needed more energy than the default, or missed the SLO; counts of seeds."""

    traffic: str
    load: float
    controller: str
    seeds: int
    dearer: int
    missed: int
    worst_saving: float | None = None
    least_attainment: float


class Step(Part):
    """One row of the ablation."""

    controller: str
    title: str
    ranked: bool
    energy_j_per_good_token: Spread | None = None
    saving: Spread | None = None
    saving_without_tail: Spread | None = None
    attainment: Spread | None = None
    knobs: dict[str, float] = Field(default_factory=dict)


class Ablation(Part):
    """The way to our controller, knob by knob."""

    traffic: str
    load: float
    rows: list[Step]


class Aim(Part):
    """A saving that was aimed at, and what was found."""

    aim: float
    reached: bool
    saving: Spread | None = None
    under_clock_prior: Percentiles | None = None


class Free(Part):
    """Our controller without clock control."""

    controller: str
    ranked: bool
    saving: Spread | None = None
    attainment: Spread | None = None


class Aims(Part):
    """What our controller saves at medium load."""

    traffic: str
    load: float
    attainment: Spread | None = None
    against_default: Aim
    against_lowest_clock: Aim
    without_clocks: Free
    least_attainment_under_prior: float | None = None


class Kept(Part):
    """Full load: kept at `rate_rps`, missed at `missed_rps`."""

    rate_rps: float
    attainment: float
    missed_rps: float
    missed_attainment: float
    knobs: dict[str, float]


class Thinned(Part):
    """What changes where a load is set by thinning instead of compressing arrivals."""

    energy_change: float | None = None
    attainment_change: float


class Source(Part):
    """A source of requests."""

    name: str
    source: str
    requests: int
    rate_rps: float
    full_load: Kept
    thinning: dict[str, Thinned] = Field(default_factory=dict)


class Site(Part):
    """Model, GPU, replicas and SLO."""

    name: str | None = None
    model: str
    gpu: str
    replicas: int
    engine: str | None = None
    slo: Targets


class Suite(Part):
    """The content of `suite.json`."""

    suite: str
    scenario: Site
    method: dict[str, Any]
    origin: str
    boundary: str
    controllers: list[Described]
    default: str
    ours: str
    traffic: list[Source]
    tables: list[LoadTable]
    losses: list[Loss]
    ablation: list[Ablation]
    aims: list[Aims]
    provenance: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class SuiteRun:
    """One suite: its `folder` and what `suite.json` says."""

    folder: Path
    suite: Suite

    @property
    def name(self) -> str:
        """What the page calls it."""
        return f"{self.suite.suite} on {self.suite.scenario.name or 'a scenario'}"

    @property
    def main(self) -> list[LoadTable]:
        """The tables of the scenario's own traffic, by rising load."""
        own = self.suite.traffic[0].name
        return sorted((t for t in self.suite.tables if t.traffic == own), key=lambda t: t.load)

    def title(self, controller: str) -> str:
        """Return what a controller is called."""
        return next((one.title for one in self.suite.controllers if one.name == controller), controller)


def is_suite(path: Path) -> bool:
    """Return whether a folder, or a `suite.json`, is that of a suite."""
    return holds(path, FILE)


def load(path: Path) -> SuiteRun:
    """Return the suite in a folder, or of a `suite.json`.

    Raises:
        InputError: there is no such suite.
        FileFormatError: its file cannot be trusted.
    """
    return SuiteRun(*read_result(path, FILE, KIND, Suite, "wattlane simulate --suite NAME -o FOLDER"))
