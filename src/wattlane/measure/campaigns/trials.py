"""One trial: a cell measured once, in a folder of its own, which is finished or is done again.

A trial is finished when its `measurement.json` is whole and was not cut short by the user. That file is written last
and atomically, so that a killed campaign leaves either a finished trial or one to be redone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from wattlane.core.errors import AbsentBackendError, InputError, MeasurementError
from wattlane.core.files import read_json
from wattlane.measure.campaigns.cells import Cell
from wattlane.measure.campaigns.static_trial import is_static, measure_static
from wattlane.measure.readings import Meter
from wattlane.measure.result import KIND
from wattlane.measure.trial import run

INTERRUPTED = "interrupted"


class Status(StrEnum):
    """How a trial ended."""

    MEASURED = "measured"
    INVALID = "invalid"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Trial:
    """Trial `number` of a cell. The requests are the same in every trial; the prompts' tokens differ by number."""

    cell: Cell
    number: int

    @property
    def place(self) -> Path:
        """Folder below the campaign's."""
        return Path("cells") / self.cell.key / f"{self.number:03d}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a trial; `files` holds its files by name where another machine made them."""

    trial: Trial
    status: Status
    reason: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)


Runner = Callable[[Trial, Path], None]
"""Measure a trial and write its four files into the folder."""


def measure(trial: Trial, folder: Path, meter: Meter | None = None) -> None:
    """Measure a trial on this machine, with the cell's meter, or by default the best that sees it."""
    cell = trial.cell
    source = meter if meter is not None else cell.meter
    if is_static(cell.target):
        measure_static(cell, trial.number, folder, source)
        return
    run(
        cell.target,
        cell.load.workload(cell.seed),
        folder,
        slo=cell.slo,
        seed=cell.seed + trial.number,
        meter=source,
        cpu_watts=cell.cpu_watts,
        concurrency=cell.concurrency,
        limit_s=cell.limit_s,
        preparation=cell.preparation,
        precision=cell.precision,
    )


def attempt(trial: Trial, folder: Path, runner: Runner = measure) -> Outcome:
    """Return how the trial went; what an earlier, unfinished attempt left in `folder` is removed first.

    A target or an option that this machine cannot serve is a skip with its reason; nothing is put in its place.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        runner(trial, folder)
    except (InputError, AbsentBackendError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        return Outcome(trial, Status.SKIPPED, str(error))
    except (MeasurementError, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        return Outcome(trial, Status.FAILED, f"{type(error).__name__}: {error}")
    body = finished(folder)
    if body is None:
        return Outcome(trial, Status.FAILED, f"{folder}: no finished measurement was written")
    return Outcome(trial, *status_of(body))


def finished(folder: Path) -> dict[str, Any] | None:
    """Return the measurement of a finished trial, None when it is to be done (again)."""
    try:
        body = read_json(folder / "measurement.json", KIND)
    except InputError:
        return None
    cut = any(str(reason).startswith(INTERRUPTED) for reason in body.get("reasons", ()))
    return None if cut or not (folder / "served.parquet").is_file() else body


def status_of(body: Mapping[str, Any]) -> tuple[Status, str]:
    """Return the status of a finished measurement, and its first reason when it is not valid."""
    if body["valid"]:
        return Status.MEASURED, ""
    return Status.INVALID, next(iter(body["reasons"]), "")
