"""How a fleet is held to a power budget. See docs/concepts/policies.md for the rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from wattlane.core.errors import InputError


class CapKind(StrEnum):
    """Which rule holds the power; the functions are in `wattlane.policy.cap`."""

    STATIC = "static"
    POLCA = "polca"
    TAPAS = "tapas"


@dataclass(frozen=True, slots=True)
class Capping:
    """A power budget of all GPU boards together, and the rule that keeps it; each rule reads what it knows.

    `static` divides the budget equally over GPUs. The others look every `period_s` at the mean power of the last
    period: `first`, `second` and `release` are shares of the budget. `polca` holds the pools `low_pools` to `low_first`
    of the highest clock above the first threshold, to `low_second` above the second one, where the others are held to
    `high_second`. `tapas` keeps a temperature of `inlet_c` + `c_per_w`·watts a replica, reached in `warm_s`, below
    `limit_c`, and acts from `band_c` below it.
    """

    kind: CapKind
    budget_w: float
    period_s: float = 1.0
    first: float = 0.80
    second: float = 0.89
    release: float = 0.05
    low_pools: tuple[int, ...] = ()
    low_first: float = 0.904
    low_second: float = 0.787
    high_second: float = 0.926
    inlet_c: float = 25.0
    c_per_w: float = 0.08
    warm_s: float = 30.0
    limit_c: float = 80.0
    band_c: float = 4.0

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise InputError.gathered("capping", problems)

    @property
    def is_watched(self) -> bool:
        """Whether the power drawn is looked at while it runs."""
        return self.kind is not CapKind.STATIC

    def _problems(self) -> Iterator[str]:
        for name in ("budget_w", "period_s", "warm_s", "c_per_w", "band_c"):
            if not getattr(self, name) > 0:
                yield f"{name} is {getattr(self, name)}; expected a number above 0"
        for name in ("low_first", "low_second", "high_second"):
            if not 0 < getattr(self, name) <= 1:
                yield f"{name} is {getattr(self, name)}; expected a share of the highest clock in (0, 1]"
        if not 0 < self.first <= self.second <= 1:
            yield f"first is {self.first}, second {self.second}; expected shares, 0 < first <= second <= 1"
        if not 0 <= self.release < self.first:
            yield f"release is {self.release}; expected a share of the budget below first, {self.first}"
        if not self.limit_c > self.inlet_c:
            yield f"limit_c is {self.limit_c}; expected more than inlet_c, {self.inlet_c}"
        if any(pool < 0 for pool in self.low_pools):
            yield f"low_pools is {list(self.low_pools)}; expected numbers of pools from 0"
