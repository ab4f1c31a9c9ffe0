"""Run a campaign: round after round, every open cell once, until each has what was asked; resumable at any point.

    plan ─► [ round: open cells in their order ─► trials ─► rows ] … ─► campaign.parquet, campaign.json

What is finished is read back from its files, so a campaign that was killed goes on at the trial it was in.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattlane.core.errors import InputError
from wattlane.core.files import writable, write_json, write_parquet
from wattlane.core.provenance import Provenance, write_beside
from wattlane.measure.campaigns.cells import Cell
from wattlane.measure.campaigns.grid import Grid, read_grid
from wattlane.measure.campaigns.order import round_order
from wattlane.measure.campaigns.plan import CampaignPlan, plan_campaign
from wattlane.measure.campaigns.ray_cluster import OnRay
from wattlane.measure.campaigns.rows import empty_row, row_of
from wattlane.measure.campaigns.schedule import Here, Scheduler
from wattlane.measure.campaigns.summary import KIND, campaign_summary, cell_summary, enough, table_of
from wattlane.measure.campaigns.trials import Outcome, Status, Trial, finished

OnStep = Callable[["Step"], None]


@dataclass(frozen=True, slots=True)
class Step:
    """Where a campaign is: trials done of those that are sure to come, words on the last, seconds left if known."""

    done: int
    least: int
    words: str
    left_s: float | None


@dataclass(frozen=True, slots=True)
class CampaignResult:
    """A finished campaign; `summary` is what `campaign.json` holds, `resumed` how many trials were already there."""

    folder: Path
    summary: dict[str, Any]
    resumed: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return self.summary


def no_step(_step: Step) -> None:
    """Say nothing."""


def campaign(
    grid: Grid | Path | str,
    out: Path | str,
    *,
    ray: str | None = None,
    scheduler: Scheduler | None = None,
    on_step: OnStep = no_step,
) -> CampaignResult:
    """Measure every cell of `grid` and write `campaign.parquet` (a row a trial) and `campaign.json` into `out`.

    Args:
        grid: a grid, or the path of a grid file.
        out: folder of the campaign; what is finished in it is kept.
        ray: address of a running Ray cluster to spread the trials over, one GPU each; None runs them here.
        scheduler: where trials run; goes before `ray`.
        on_step: called after each trial.

    Raises:
        InputError: the grid is wrong, or another campaign runs in `out`.
        MissingExtraError: `ray` is given and Ray is not installed.
        MeasurementError: the Ray cluster cannot be used.
        KeyboardInterrupt: Ctrl-C; the tables so far are written first.
    """
    asked = grid if isinstance(grid, Grid) else read_grid(Path(grid))
    plan, folder = plan_campaign(asked), Path(out)
    with _alone(folder):
        runs = scheduler or (OnRay(folder, ray) if ray else Here(folder, cooldown_s=asked.cooldown_s))
        book = _Book(plan, folder, on_step)
        try:
            book.run(runs)
        except BaseException:
            book.write(complete=False)
            raise
        return CampaignResult(folder, book.write(complete=True), book.resumed)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder; the lock of a killed process is gone with it."""
    with (writable(folder) / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{folder}: another campaign is running in it; wait, or give another folder") from error
        yield


class _Book:
    """The rows so far, the cells that are closed, and the clock of this process."""

    def __init__(self, plan: CampaignPlan, folder: Path, on_step: OnStep) -> None:
        self.grid = plan.grid
        self.cells = [planned.cell for planned in plan.cells]
        self.folder = folder
        self.on_step = on_step
        self.rows: dict[str, list[dict[str, Any]]] = {cell.key: [] for cell in self.cells}
        self.closed: dict[str, str] = {}
        self.resumed = 0
        self.began_s = time.monotonic()
        self.ended = 0
        for cell in self.cells:
            if cell.skip is not None:
                self.add(Outcome(Trial(cell, 0), Status.SKIPPED, f"left out by the grid: {cell.skip}"))

    def run(self, scheduler: Scheduler) -> None:
        """Go through the rounds until no cell is open."""
        for number in range(self.grid.repeats.cap):
            order = round_order(self.cells, self.grid.order, self.grid.seed, number)
            missing = []
            for cell in [cell for cell in order if self._is_open(cell)]:
                trial = Trial(cell, number)
                body = finished(self.folder / trial.place)
                if body is None:
                    missing.append(trial)
                else:
                    self.resumed += 1
                    self._keep(trial, body)
            for outcome in scheduler.run(self._startable(missing)):
                self.add(outcome)
                self.on_step(self._step(outcome))
            if missing:
                self.write(complete=False)

    def add(self, outcome: Outcome) -> None:
        """Enter what became of a trial into rows and journal; a cell that cannot run is closed."""
        trial = outcome.trial
        if outcome.status in (Status.SKIPPED, Status.FAILED):
            self.rows[trial.cell.key].append(empty_row(outcome))
            self.closed[trial.cell.key] = f"{outcome.status.value}: {outcome.reason}"
        else:
            body = finished(self.folder / trial.place)
            assert body is not None
            self._keep(trial, body)
        self._note(outcome)

    def write(self, *, complete: bool) -> dict[str, Any]:
        """Write both result files from what is known now and return the summary."""
        cells = [
            cell_summary(cell, self.rows[cell.key], self.grid.repeats, self.closed.get(cell.key)) for cell in self.cells
        ]
        body = campaign_summary(self.grid, cells, complete)
        provenance = Provenance(seed=self.grid.seed)
        rows = [row for cell in self.cells for row in self.rows[cell.key]]
        if rows:
            write_parquet(self.folder / "campaign.parquet", KIND, table_of(rows))
        write_json(self.folder / "campaign.json", KIND, {**body, "provenance": provenance.as_dict()})
        write_beside(self.folder, provenance, {"this_process": time.monotonic() - self.began_s})
        return body

    def _startable(self, trials: list[Trial]) -> Iterator[Trial]:
        """Yield the trials that may still start; a rung above one that failed in this round is closed instead."""
        for trial in trials:
            reason = self._above_a_failure(trial.cell)
            if reason is None:
                yield trial
            else:
                self.add(Outcome(trial, Status.SKIPPED, reason))

    def _above_a_failure(self, cell: Cell) -> str | None:
        ladder = self.grid.ladder
        if ladder is None or ladder not in cell.factors:
            return None
        for other in self.cells:
            if self.closed.get(other.key, "").startswith(Status.FAILED.value) and ladder in other.factors:
                same = {**other.factors, ladder: None} == {**cell.factors, ladder: None}
                if same and other.factors[ladder] < cell.factors[ladder]:  # type: ignore[operator]
                    return f"{ladder}={other.factors[ladder]} failed, and this one is larger"
        return None

    def _is_open(self, cell: Cell) -> bool:
        return cell.key not in self.closed and enough(self.rows[cell.key], self.grid.repeats) is None

    def _keep(self, trial: Trial, body: dict[str, Any]) -> None:
        row = row_of(trial, self.folder / trial.place, body, self.grid.per_requests)
        self.rows[trial.cell.key].append(row)

    def _step(self, outcome: Outcome) -> Step:
        self.ended += 1
        done = sum(len(rows) for rows in self.rows.values())
        to_come = sum(
            max(self.grid.repeats.at_least - len(self.rows[cell.key]), 0)
            for cell in self.cells
            if cell.key not in self.closed
        )
        each_s = (time.monotonic() - self.began_s) / self.ended
        words = f"{outcome.trial.cell.name}, trial {outcome.trial.number + 1}: {outcome.status.value}"
        return Step(done, done + to_come, words, each_s * to_come)

    def _note(self, outcome: Outcome) -> None:
        trial = outcome.trial
        line = {
            "time_s": time.time(),
            "cell": trial.cell.key,
            "trial": trial.number,
            "status": outcome.status.value,
            "reason": outcome.reason,
        }
        with (self.folder / "journal.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
