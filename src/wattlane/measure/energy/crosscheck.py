"""Compare the counter with integrated power over one window. Both are reported with their gap; over 5 % it is flagged.

    gap = (E_power − E_counter) / E_counter

A gap can be the sampling of the power sensor alone: `explained` says whether its own random parts reach that far.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from wattlane.measure.energy.budget import Z
from wattlane.measure.energy.integrate import PowerEnergy
from wattlane.measure.energy.window import CounterEnergy

LIMIT = 0.05


@dataclass(frozen=True, slots=True)
class CrossCheck:
    """Two energies of one window; `gap` is relative to the counter, None where the counter shows 0."""

    counter_j: float
    power_j: float
    gap: float | None
    flagged: bool
    explained: bool

    @property
    def reason(self) -> str | None:
        """Say what was found where the sources disagree, None where they agree."""
        if not self.flagged:
            return None
        share = "no energy on the counter" if self.gap is None else f"a gap of {self.gap:+.1%}"
        cause = "within what part-time sampling explains" if self.explained else "more than sampling explains"
        return (
            f"sources_disagree: counter {self.counter_j:.4g} J, integrated power {self.power_j:.4g} J: {share} "
            f"(limit {LIMIT:.0%}), {cause}"
        )


def cross_check(counter: CounterEnergy, power: PowerEnergy) -> CrossCheck:
    """Return both energies and whether they differ by more than `LIMIT`."""
    apart_j = power.energy_j - counter.energy_j
    gap = apart_j / counter.energy_j if counter.energy_j > 0 else None
    random_j = Z * math.hypot(power.edges_sd_j, power.samples_sd_j, counter.edges_sd_j, counter.tick_sd_j)
    reach_j = random_j + power.gaps_j + power.averaging_j
    flagged = gap is None or abs(gap) > LIMIT
    return CrossCheck(counter.energy_j, power.energy_j, gap, flagged, abs(apart_j) <= reach_j)
