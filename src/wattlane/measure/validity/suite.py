"""The fault suite: how many seeded faults are caught and rightly named, how many clean runs raise an alarm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wattlane.measure.validity.codes import Code, Level
from wattlane.measure.validity.judge import examine
from wattlane.measure.validity.seeded import clean
from wattlane.measure.validity.seeded_faults import FAULTS, Fault

NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of fault: how many runs had it and what each was named first."""

    kind: str
    code: Code
    named: Mapping[str, int]

    @property
    def runs(self) -> int:
        """Number of runs."""
        return sum(self.named.values())

    @property
    def right(self) -> float:
        """Share of runs whose first reason is the right one."""
        return self.named.get(self.code.value, 0) / self.runs


def confusion(seeds: Iterable[int], faults: Mapping[str, Fault] = FAULTS) -> list[Row]:
    """Return a row per kind of fault, each over all `seeds`."""
    listed = list(seeds)
    return [Row(kind, fault.code, Counter(_first(fault, seed) for seed in listed)) for kind, fault in faults.items()]


def alarms(seeds: Iterable[int]) -> dict[int, tuple[Code, ...]]:
    """Return the codes above a note that clean runs raised, by seed; runs without any are left out."""
    found = {}
    for seed in seeds:
        codes = tuple(reason.code for reason in examine(clean(seed)).reasons if reason.level is not Level.NOTE)
        if codes:
            found[seed] = codes
    return found


def _first(fault: Fault, seed: int) -> str:
    reasons = examine(fault.make(seed)).reasons
    return reasons[0].code.value if reasons else NOTHING
