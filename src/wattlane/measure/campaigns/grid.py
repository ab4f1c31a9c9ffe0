"""GRID.toml: the cells of a campaign and how they are repeated; every problem is reported at once.

Texts may hold `{factor}` (or `{factor.field}` when its values are tables); each combination of factor values is a cell.
`[[sweep]]` blocks are unions: each has its own factors, target and workload over the common ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.core.sections import Section, checked, parse_table, read_table
from wattlane.core.types import Slo
from wattlane.measure.widen import MAX_PASSES, Precision

Value = str | int | float | bool | dict[str, str | int | float | bool]
Factors = dict[str, list[Value]]
WholeOrText = int | str


class LoadSection(Section):
    """The requests of a cell: a `text` as `wattlane measure` takes, a `file`, or `arrival` with `lengths` and `n`."""

    text: str | None = None
    file: str | None = None
    arrival: str | None = None
    lengths: str | None = None
    n: WholeOrText | None = None

    @model_validator(mode="after")
    def _one_form(self) -> LoadSection:
        made = (self.arrival, self.lengths, self.n)
        forms = [self.text is not None, self.file is not None, any(part is not None for part in made)]
        if sum(forms) != 1 or (forms[2] and None in made):
            raise ValueError("give exactly one of text, file, and arrival with lengths and n")
        return self


class WarmupSection(Section):
    """Both phases before each trial: `batches` times `batch` requests of each; `settle_s` of rest before the clock."""

    batches: int = Field(default=1, ge=1, le=20)
    batch: WholeOrText = 1
    settle_s: float = Field(default=0.0, ge=0, strict=False)


class RepeatsSection(Section):
    """At least so many trials of a cell; more until the interval of `metric` is narrow enough, or `at_most`.

    `relative` bounds the half-width of the 95 % interval by a share of the mean, `half_width` by the metric's own unit.
    """

    at_least: int = Field(default=5, ge=1)
    at_most: int | None = Field(default=None, ge=1)
    metric: str = "window_s"
    relative: float | None = Field(default=None, gt=0, strict=False)
    half_width: float | None = Field(default=None, gt=0, strict=False)

    @model_validator(mode="after")
    def _stops(self) -> RepeatsSection:
        problems = []
        asked = self.relative is not None or self.half_width is not None
        if asked and self.at_most is None:
            problems.append("at_most is missing; expected a cap beside relative or half_width")
        if self.at_most is not None and self.at_most < self.at_least:
            problems.append(f"at_most is {self.at_most}; expected at least at_least, {self.at_least}")
        if asked and (self.at_most or 2) < 2:
            problems.append(f"at_most is {self.at_most}; expected at least 2, an interval needs two trials")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def is_fixed(self) -> bool:
        """Whether every cell gets the same number of trials."""
        return self.relative is None and self.half_width is None

    @property
    def cap(self) -> int:
        """Most trials of a cell."""
        return self.at_least if self.is_fixed else int(self.at_most or self.at_least)


class WindowSection(Section):
    """Precision asked of each trial's window: half-width of its own random error over its energy.

    A shorter window holds the workload several times, at most `max_passes`; a trial that needs more is not valid.
    """

    relative: float = Field(gt=0, lt=1, strict=False)
    max_passes: int = Field(default=MAX_PASSES, ge=1)

    def as_precision(self) -> Precision:
        """Return the noun."""
        return Precision(self.relative, self.max_passes)


class SloSection(Section):
    """What attainment is judged by."""

    ttft_s: float = Field(default=1.0, gt=0, strict=False)
    tbt_s: float = Field(default=0.1, gt=0, strict=False)
    attainment: float = Field(default=0.99, gt=0, le=1, strict=False)

    def as_slo(self) -> Slo:
        """Return the noun."""
        return Slo(self.ttft_s, self.tbt_s, self.attainment)


class SkipSection(Section):
    """Cells whose factors have one of these values are not run, for this reason."""

    where: dict[str, list[str | int | float | bool]]
    reason: str


class SweepSection(Section):
    """One block of cells; what it does not say is the grid's."""

    name: str = ""
    target: str | None = None
    workload: LoadSection | None = None
    concurrency: WholeOrText | None = None
    factors: Factors = Field(default_factory=dict)

    @field_validator("factors")
    @classmethod
    def _values(cls, factors: Factors) -> Factors:
        return checked_factors(factors)


class Grid(Section):
    """A whole campaign."""

    name: str
    note: str = ""
    target: str | None = None
    seed: int = Field(default=0, ge=0)
    workload: LoadSection | None = None
    concurrency: WholeOrText | None = None
    factors: Factors = Field(default_factory=dict)
    sweep: list[SweepSection] = Field(default_factory=list)
    skip: list[SkipSection] = Field(default_factory=list)
    order: Literal["shuffled", "interleaved"] = "shuffled"
    ladder: str | None = None
    repeats: RepeatsSection = Field(default_factory=RepeatsSection)
    warmup: WarmupSection = Field(default_factory=WarmupSection)
    window: WindowSection | None = None
    cooldown_s: float = Field(default=0.0, ge=0, strict=False)
    slo: SloSection = Field(default_factory=SloSection)
    meter: str | None = None
    cpu_watts: float | None = Field(default=None, gt=0, strict=False)
    limit_s: float = Field(default=600.0, gt=0, strict=False)
    per_requests: int = Field(default=1, ge=1)

    @field_validator("factors")
    @classmethod
    def _values(cls, factors: Factors) -> Factors:
        return checked_factors(factors)

    @property
    def sweeps(self) -> list[SweepSection]:
        """The blocks of cells; a grid without any is one block."""
        return self.sweep or [SweepSection()]


def checked_factors(factors: Factors) -> Factors:
    """Return `factors`; raise `ValueError` for an empty list, a value given twice, or tables without a label."""
    problems = []
    for name, values in factors.items():
        if not values:
            problems.append(f"{name} is []; expected one value or more")
        problems += [
            f"{name} has the table {value!r}; expected a key 'label' in it"
            for value in values
            if isinstance(value, dict) and "label" not in value
        ]
        labels = [repr(label(value)) for value in values]
        twice = sorted({text for text in labels if labels.count(text) > 1})
        if twice:
            problems.append(f"{name} holds {', '.join(twice)} more than once; expected each value once")
    if problems:
        raise ValueError("; ".join(problems))
    return factors


def label(value: Value) -> str | int | float | bool:
    """Return what a factor's value is called: itself, or the `label` of a table."""
    return value.get("label", "") if isinstance(value, dict) else value


FORM = "docs/guides/campaigns.md"
PRESETS = "wattlane.measure.campaigns.presets"


def preset_names() -> list[str]:
    """Return the names of the shipped grids."""
    files = resources.files(PRESETS).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def read_preset(name: str, changes: Mapping[str, Any] | None = None) -> Grid:
    """Return a shipped grid; `changes` as in `read_grid`.

    Raises:
        UnknownNameError: no such preset.
        InputError: a change is wrong.
    """
    if name not in preset_names():
        raise UnknownNameError("preset", name, preset_names())
    return parse_grid(name, resources.files(PRESETS).joinpath(f"{name}.toml").read_text(encoding="utf-8"), changes)


def read_grid(path: Path, changes: Mapping[str, Any] | None = None) -> Grid:
    """Return the grid of a TOML file; `changes` sets keys by dotted name (`repeats.at_least`) over the file's.

    Raises:
        InputError: the file is not TOML, or keys or values are wrong (all of them are listed).
    """
    return beside(path.parent, _changed(str(path), read_table(path, FORM), changes))


def parse_grid(where: str, text: str, changes: Mapping[str, Any] | None = None) -> Grid:
    """Return the grid that `text` holds; `where` names it in messages."""
    return _changed(where, parse_table(where, text, FORM), changes)


def beside(folder: Path, grid: Grid) -> Grid:
    """Return the grid with its workload files read relative to `folder`."""

    def moved(load: LoadSection | None) -> LoadSection | None:
        if load is None or load.file is None:
            return load
        return load.model_copy(update={"file": str(folder / load.file)})

    sweeps = [sweep.model_copy(update={"workload": moved(sweep.workload)}) for sweep in grid.sweep]
    return grid.model_copy(update={"workload": moved(grid.workload), "sweep": sweeps})


def _changed(where: str, body: dict[str, Any], changes: Mapping[str, Any] | None) -> Grid:
    for key, value in (changes or {}).items():
        _set(body, key.split("."), value, where)
    return checked(where, body, Grid)


def _set(body: dict[str, Any], path: list[str], value: Any, where: str) -> None:
    for part in path[:-1]:
        body = body.setdefault(part, {})
        if not isinstance(body, dict):
            raise InputError(f"{where}: {'.'.join(path)} cannot be set; {part} is not a table")
    body[path[-1]] = value
