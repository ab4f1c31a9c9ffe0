"""Where the trials of a round run: here, one after another; or elsewhere (`ray_cluster.py`)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from wattlane.measure.campaigns.trials import Outcome, Runner, Trial, attempt, measure


class Scheduler(Protocol):
    """Runs trials and yields what became of each, in the order they end."""

    def run(self, trials: Iterable[Trial]) -> Iterator[Outcome]:
        """Yield one outcome a trial; a lazy scheduler takes the next trial only when it can start it."""
        ...


class Here:
    """One trial at a time on this machine, with `cooldown_s` of rest between two."""

    def __init__(self, out: Path, runner: Runner = measure, cooldown_s: float = 0.0) -> None:
        self._out = out
        self._runner = runner
        self._cooldown_s = cooldown_s
        self._has_run = False

    def run(self, trials: Iterable[Trial]) -> Iterator[Outcome]:
        """Yield one outcome a trial."""
        for trial in trials:
            if self._has_run:
                time.sleep(self._cooldown_s)
            self._has_run = True
            yield attempt(trial, self._out / trial.place, self._runner)
