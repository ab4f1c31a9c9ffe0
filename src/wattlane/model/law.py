"""What every law is to the rest of the house: it says what it is asked about, and answers.

A law takes plain numbers (its *axes*, in order) and returns plain numbers (its *answers*, in order). `Traits` says
which they are and what is true of them, so that one battery (`wattlane.model.check_law`) and one reader of law files
(`wattlane.model.registry`) serve all laws. A law of whole requests may leave its traits out: `REQUESTS` is then meant.

    axes                      answers                 laws
    input and output tokens   runtime_s, energy_j     bilinear, table, ideal, phase of one case
    batch                     power_w                 constant, logistic_batch, vidur_mfu, roofline of one case
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from wattlane.core.types import Estimate

# What check_law can check of a law, in order.
CHECKS = ("round trip", "non-negative", "monotone", "scale", "coverage")


@dataclass(frozen=True, slots=True)
class Traits:
    """What a law says of itself.

    Attributes:
        axes: names of what it is asked about, in order, with units.
        answers: names of what it returns, in order, with units.
        rising: axes along which no answer may fall.
        falling: axes along which no answer may rise.
        growth: least and largest factor on an answer when all axes double.
        exempt: check of `CHECKS` → why it does not apply to this law.
    """

    axes: tuple[str, ...]
    answers: tuple[str, ...]
    rising: tuple[str, ...]
    falling: tuple[str, ...] = ()
    growth: tuple[float, float] = (1.0, 4.0)
    exempt: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = {*self.exempt} - {*CHECKS} | {*self.rising, *self.falling} - {*self.axes}
        if unknown:
            raise ValueError(
                f"traits name {', '.join(sorted(unknown))}; expected checks of {CHECKS}, axes of {self.axes}"
            )


# Prompt attention grows as the square of the tokens, nothing grows faster.
REQUESTS = Traits(
    axes=("input_tokens", "output_tokens"),
    answers=("runtime_s", "energy_j"),
    rising=("input_tokens", "output_tokens"),
)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A measurement the law never saw: where, what was found (answer → value), and the group it was left out with."""

    point: tuple[float, ...]
    measured: Mapping[str, float]
    group: str = ""


class Law(Protocol):
    """A law of anything."""

    @property
    def traits(self) -> Traits:
        """What the law is asked, what it answers and what holds of the answers."""
        ...

    def answer(self, *asked: float) -> tuple[float, ...]:
        """Return the answers at one point of the axes."""
        ...


class RequestLaw(Protocol):
    """A law that gives time and energy of one request."""

    def request_cost(self, input_tokens: float, output_tokens: float) -> tuple[float, float]:
        """Return (runtime in s, energy in J) of one request."""
        ...


class Predicts(Protocol):
    """A law that states intervals."""

    def predict(self, *asked: float, level: float = 0.95) -> Mapping[str, Estimate]:
        """Return each answer with the interval that is to hold `level` of new measurements."""
        ...
