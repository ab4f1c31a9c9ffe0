"""A meter with known truth: its counter is an exact function of time, shown in steps of `tick_s`.

Its readings are modelled, never measured: nothing drew that power.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Self

from wattlane.core.types import Boundary, Origin
from wattlane.measure.readings import Channel, Reading

SOURCE = "simulated"


class SimulatedMeter:
    """`energy_j_at(t)` is the true energy since the meter was made, `power_w_at(t)` its derivative, t in seconds."""

    def __init__(
        self,
        energy_j_at: Callable[[float], float],
        power_w_at: Callable[[float], float],
        tick_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._energy_j_at = energy_j_at
        self._power_w_at = power_w_at
        self._tick_s = tick_s
        self._clock = clock
        self._start_s = clock()

    @classmethod
    def constant(cls, power_w: float, tick_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> Self:
        """Return a meter that draws `power_w` at all times."""
        return cls(lambda t: power_w * t, lambda _t: power_w, tick_s, clock)

    def read(self) -> Reading:
        """Return the counter at its last tick and the power of this instant."""
        now_s = self._clock()
        return Reading(now_s, SOURCE, Boundary.GPU, (self.channel(now_s),), Origin.MODELLED)

    def channel(self, now_s: float, device: str = "card 0") -> Channel:
        """Return what the card shows at `now_s` of its clock; several cards make one reading so."""
        since_s = now_s - self._start_s
        shown_s = math.floor(since_s / self._tick_s) * self._tick_s if self._tick_s > 0 else since_s
        return Channel(device, self._energy_j_at(shown_s), self._power_w_at(since_s))
