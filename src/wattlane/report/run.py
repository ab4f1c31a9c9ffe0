"""The folder of a study as the page reads it: the summary, and tables that are read when a figure asks for them.

Files a study did not write are None; files that are there but cannot be trusted raise `FileFormatError`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from wattlane.core.errors import FileFormatError, InputError
from wattlane.core.files import read_json, read_parquet
from wattlane.core.types import Outcome
from wattlane.report.summary import Measured, Summary, read_measured, read_summary

if TYPE_CHECKING:
    import polars as pl

POWER_COLUMNS = ("run", "t_s", "power_w")
FRONTIER_COLUMNS = ("energy_j_per_request", "ttft_p99_s", "feasible")
DRAWS_COLUMNS = ("saving_fraction",)
SERVED_COLUMNS = ("outcome", "input_tokens", "output_tokens")


@dataclass(frozen=True)
class Run:
    """One study: `folder` and its `summary`; everything else is read on demand, once."""

    folder: Path
    summary: Summary

    @property
    def name(self) -> str:
        """What the page calls this run."""
        return self.summary.scenario.name or self.folder.resolve().name

    @cached_property
    def power(self) -> pl.DataFrame | None:
        """Mean power in bins: `run` (baseline or plan), `t_s` the start of the bin, `power_w`."""
        return self._table("power.parquet", POWER_COLUMNS)

    @cached_property
    def frontier(self) -> pl.DataFrame | None:
        """Every configuration the search tried."""
        return self._table("frontier.parquet", FRONTIER_COLUMNS)

    @cached_property
    def draws(self) -> pl.DataFrame | None:
        """The paired draws behind the intervals."""
        return self._table("draws.parquet", DRAWS_COLUMNS)

    @cached_property
    def histogram(self) -> dict[str, list[float]] | None:
        """Edges and counts of the token lengths."""
        path = self.folder / "workload.json"
        if not path.is_file():
            return None
        body = read_json(path).get("histogram")
        return None if body is None else _checked_histogram(path, body)

    @cached_property
    def regimes(self) -> dict[str, Any] | None:
        """What each phase of the plan waits for, by the law."""
        path = self.folder / "regimes.json"
        return read_json(path, "regimes") if path.is_file() else None

    @cached_property
    def measured(self) -> Measured | None:
        """The real engine measured beside the study, if there was one."""
        path = self.folder / "measured" / "measurement.json"
        return read_measured(path) if path.is_file() else None

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Command, host and durations; empty if the file is absent."""
        path = self.folder / "provenance.json"
        body = read_json(path) if path.is_file() else {}
        return {name: value for name, value in body.items() if name not in ("schema", "kind")}

    @cached_property
    def input_tokens(self) -> dict[str, int]:
        """Prompt tokens of completed requests, for baseline and plan where their rows are there."""
        totals = {}
        for case, file in (("baseline", "baseline-served.parquet"), ("plan", "served.parquet")):
            rows = self._table(file, SERVED_COLUMNS)
            if rows is not None:
                totals[case] = int(rows.filter(rows["outcome"] == Outcome.COMPLETED.value)["input_tokens"].sum())
        return totals

    def _table(self, name: str, columns: tuple[str, ...]) -> pl.DataFrame | None:
        path = self.folder / name
        return read_parquet(path, None, columns) if path.is_file() else None


def load(path: Path) -> Run:
    """Return the study in a folder (or of a `summary.json`).

    Raises:
        InputError: there is no such study.
        FileFormatError: its summary cannot be trusted.
    """
    folder = path.parent if path.name == "summary.json" else path
    if not folder.is_dir():
        raise InputError(
            f"{path}: no such folder; expected the folder a study wrote (wattlane study STUDY.toml -o RUN)"
        )
    if not (folder / "summary.json").is_file():
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        raise InputError(
            f"{folder}: found no summary.json (found {found}); expected the folder of a finished study; "
            "run wattlane study again with the same -o to finish it"
        )
    return Run(folder, read_summary(folder / "summary.json"))


def _checked_histogram(path: Path, body: Any) -> dict[str, list[float]]:
    if not isinstance(body, dict):
        raise FileFormatError(f"{path}: histogram is a {type(body).__name__}; expected an object of edges and counts")
    problems = []
    for side in ("input", "output"):
        edges, counts = body.get(f"{side}_edges"), body.get(f"{side}_counts")
        if not _numbers(edges) or not _numbers(counts) or len(edges) != len(counts) + 1:
            problems.append(
                f"histogram.{side}_edges and {side}_counts; expected lists of numbers, one edge more than counts"
            )
    if problems:
        raise FileFormatError.gathered(str(path), problems)
    return dict(body)


def _numbers(values: object) -> TypeGuard[list[float]]:
    return isinstance(values, list) and bool(values) and all(isinstance(value, int | float) for value in values)
