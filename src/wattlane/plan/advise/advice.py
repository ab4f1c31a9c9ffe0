"""One piece of advice: a change, what it is expected to save, how sure that is, and what it rests on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from wattlane.core.errors import InputError

WORTH_IT = 0.005  # share of the energy below which nobody should change anything


class Basis(StrEnum):
    """What an effect rests on; a later one is overridden by an earlier one of the same change."""

    MEASURED = "measured here"
    MODELLED = "modelled"
    PRINTED = "printed elsewhere"


@dataclass(frozen=True, slots=True)
class Advice:
    """A change of one knob against what is now.

    `saving`, `lo` and `hi` are shares of the energy for the same work, negative where it costs. `keeps_slo` is None
    where the change was not replayed.

    Raises:
        InputError: the saving lies outside its interval.
    """

    knob: str
    change: str
    saving: float
    lo: float
    hi: float
    basis: Basis
    source: str
    why: str
    keeps_slo: bool | None = None
    attainment: float | None = None

    def __post_init__(self) -> None:
        if not self.lo <= self.saving <= self.hi:
            raise InputError(
                f"{self.knob} {self.change}: a saving of {self.saving} lies outside its interval [{self.lo}, {self.hi}]"
            )

    @property
    def verdict(self) -> str:
        """Do, do not, or nothing shown; a change that breaks the SLO is never to be done."""
        if self.keeps_slo is False:
            return "do not: it breaks the SLO"
        if max(abs(self.lo), abs(self.hi)) < WORTH_IT:
            return "no difference"
        if self.lo > 0 and self.saving >= WORTH_IT:
            return "do"
        return "do not: it costs energy" if self.hi < 0 else "no difference shown: measure it"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "basis": self.basis.value, "verdict": self.verdict}

    def line(self) -> str:
        """Return the advice in one line."""
        kept = "" if self.attainment is None else f", {self.attainment:.2%} in time"
        return (
            f"{self.verdict}: {self.knob} {self.change}: saves {self.saving:.1%} [{self.lo:.1%}, {self.hi:.1%}]{kept} "
            f"({self.basis.value}; {self.source}). {self.why}"
        )


def ranked(found: list[Advice]) -> list[Advice]:
    """Return what to do first, by what it surely saves; then what is open; then what not to do. Measured overrides."""
    measured = {(a.knob, a.change) for a in found if a.basis == Basis.MEASURED}
    kept = [a for a in found if a.basis == Basis.MEASURED or (a.knob, a.change) not in measured]
    order = {"do": 0, "no difference shown: measure it": 1, "no difference": 2}
    return sorted(kept, key=lambda a: (order.get(a.verdict, 3), -a.lo, a.knob, a.change))
