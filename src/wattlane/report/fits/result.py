"""The folder of a fit as the page reads it: `fit.json`, and `runs.parquet` when a figure asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from wattlane.core.files import read_parquet
from wattlane.report.result_files import holds, read_result
from wattlane.report.summary import Part

if TYPE_CHECKING:
    import polars as pl

FILE, KIND = "fit.json", "fit"
RUNS, RUNS_KIND = "runs.parquet", "fit-runs"
COLUMNS = ("input_tokens", "output_tokens", "energy_j", "runtime_s", "fitted_energy_j", "fitted_runtime_s")


class Scored(Part):
    """Scores of predictions; shares, not percent."""

    asked: int = 0
    rows: int = 0
    r2_uncentred: float | None = None
    r2_centred: float | None = None
    mape: float | None = None
    median_ape: float | None = None
    worst_ape: float | None = None
    bias: float | None = None
    negative_predictions: int = 0


class Coefficient(Part):
    """One coefficient of a least-squares form."""

    term: str
    value: float
    standard_error: float
    p_value: float | None = None


class Form(Part):
    """Least squares with or without an intercept, or why there is none."""

    refused: str | None = None
    r2_uncentred: float | None = None
    r2_centred: float | None = None
    q2: float | None = None
    f_statistic: float | None = None
    f_p_value: float | None = None
    dof: tuple[int, int] | None = None
    mape: float | None = None
    median_ape: float | None = None
    negative_predictions: int | None = None
    coefficients: list[Coefficient] = Field(default_factory=list)


class FittedSide(Part):
    """One response: the law as fitted, and the least-squares forms of its terms."""

    unit: str
    terms: list[str]
    coefficients: list[float]
    standard_errors: list[float] | None = None
    in_sample: Scored
    q2: float | None = None
    least_squares: dict[str, Form] = Field(default_factory=dict)


class Covered(Part):
    """How often rows of left-out groups lay in their intervals."""

    level: float
    groups: int
    share: float | None = None
    half_width: float | None = None


class Group(Part):
    """Scores of one group that was left out."""

    group: str
    energy_j: Scored
    runtime_s: Scored


class LeftOut(Part):
    """Cross-validation by one column."""

    by: str
    groups: int
    folds: int
    refusals: list[str] = Field(default_factory=list)
    scores: dict[str, Scored]
    coverage: dict[str, Covered]
    per_group: list[Group] = Field(default_factory=list)


class Rival(Part):
    """Another form or fit on the same rows and folds."""

    name: str
    refused: str | None = None
    in_sample: dict[str, Scored] = Field(default_factory=dict)
    held_out: dict[str, dict[str, Scored]] = Field(default_factory=dict)


class VarianceRow(Part):
    """One term of an analysis of variance."""

    term: str
    sum_of_squares: float
    dof: int
    f_statistic: float | None = None
    p_value: float | None = None


class Variance(Part):
    """Analysis of variance by response, or why there is none."""

    refused: str | None = None
    notes: list[str] = Field(default_factory=list)
    tables: dict[str, list[VarianceRow]] = Field(default_factory=dict)


class Level(Part):
    """Relative residuals of the runs at one level of a factor."""

    level: str
    rows: int
    mean: float
    median_ape: float


class Fit(Part):
    """The content of `fit.json`."""

    law: str
    model: str
    method: str
    kv_cache: bool | None = None
    runs: dict[str, Any] = Field(default_factory=dict)
    range: dict[str, tuple[float, float]] = Field(default_factory=dict)
    sides: dict[str, FittedSide]
    held_out: list[LeftOut] = Field(default_factory=list)
    rivals: list[Rival] = Field(default_factory=list)
    variance: Variance = Variance()
    residuals: dict[str, dict[str, list[Level]]] = Field(default_factory=dict)
    provenance: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class FitRun:
    """One fit: its `folder` and what `fit.json` says."""

    folder: Path
    fit: Fit

    @property
    def name(self) -> str:
        """What the page calls it."""
        return f"{self.fit.law} law of {self.fit.model}"

    @cached_property
    def runs(self) -> pl.DataFrame | None:
        """The runs with fitted and held-out values; None where the file is absent."""
        path = self.folder / RUNS
        return read_parquet(path, RUNS_KIND, COLUMNS) if path.is_file() else None


def is_fit(path: Path) -> bool:
    """Return whether a folder, or a `fit.json`, is that of a fit."""
    return holds(path, FILE)


def load(path: Path) -> FitRun:
    """Return the fit in a folder, or of a `fit.json`.

    Raises:
        InputError: there is no such fit.
        FileFormatError: its file cannot be trusted.
    """
    return FitRun(*read_result(path, FILE, KIND, Fit, "wattlane fit RUNS -o LAW --report FOLDER"))
