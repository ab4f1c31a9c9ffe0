"""How a pool chooses its clock, iteration by iteration. See docs/concepts/policies.md for the rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from wattlane.core.errors import InputError


class ClockKind(StrEnum):
    """Which rule sets the clock; the functions are in `wattlane.policy.clock` and `wattlane.policy.clock_loop`."""

    FIXED = "fixed"
    LOWEST_FEASIBLE = "lowest-feasible"
    GREEN = "green"
    MIAD = "miad"
    ENERGY_MINIMUM = "energy-minimum"


@dataclass(frozen=True, slots=True)
class Clocking:
    """A rule and its parameters; each rule reads those that it knows.

    `margin` is the share of a target that a predicted or measured time may take. `energy-minimum` takes
    1 / (1 + z·relative_error) instead: predicted times err by `relative_error`, one standard deviation, and the target
    is to be kept with the probability that belongs to `z`; it sees how crowded the replica is over about `memory_s`, 0
    prices time as rest whatever the load. `miad` and `green` act every `period_s` on the share of gaps and first tokens
    that came too late, `tail` of which may. `green` steps down only where gaps are below (1 − hysteresis) of that, and
    moves its band every `slow_periods`. `increase` is a factor on the clock's place in the grid, `decrease` is in steps
    of the grid.
    """

    kind: ClockKind = ClockKind.FIXED
    margin: float = 0.9
    z: float = 2.33
    relative_error: float = 0.05
    period_s: float = 0.25
    slow_periods: int = 8
    tail: float = 0.05
    hysteresis: float = 0.15
    increase: float = 1.5
    decrease: float = 1.0
    memory_s: float = 60.0

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise InputError.gathered("clocking", problems)

    @property
    def allow(self) -> float:
        """The share of a target that a predicted time may take."""
        if self.kind is ClockKind.ENERGY_MINIMUM:
            return 1.0 / (1.0 + self.z * self.relative_error)
        return self.margin

    @property
    def needs_slo(self) -> bool:
        """Whether the rule looks at the fleet's targets."""
        return self.kind is not ClockKind.FIXED

    def _problems(self) -> Iterator[str]:
        for name, low, high in (
            ("margin", 0.0, 1.0),
            ("tail", 0.0, 1.0),
            ("hysteresis", 0.0, 1.0),
        ):
            if not low < getattr(self, name) <= high:
                yield f"{name} is {getattr(self, name)}; expected a share in (0, 1]"
        for name in ("z", "relative_error", "memory_s"):
            if not getattr(self, name) >= 0:
                yield f"{name} is {getattr(self, name)}; expected a number of at least 0"
        for name in ("period_s", "decrease"):
            if not getattr(self, name) > 0:
                yield f"{name} is {getattr(self, name)}; expected a number above 0"
        if self.slow_periods < 1:
            yield f"slow_periods is {self.slow_periods}; expected an integer of at least 1"
        if not self.increase > 1:
            yield f"increase is {self.increase}; expected a factor above 1"
