"""Find loads in step with a sensor that sees only part of each period, and bound their energy instead.

A load of period T under samples each S looks constant, or slow, if q S / T is near a whole number for a small q:
over n samples the phase then drifts by n |q S/T − round(q S/T)| turns, and less than one turn means that only some
phases were seen. Three signs:

    period      the load's period is known (steps of a decode loop, say) and fits the rule above
    average     the mean of instant power differs from the mean of averaged power by more than both can explain
    counter     integrated power differs from the counter likewise

Bound: what was seen is exact; the unseen share lay between the lowest and highest power the card can draw.

    E ∈ duty · E_seen + (1 − duty) · T_window · [P_lo, P_hi]
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from wattlane.measure.energy.budget import Z
from wattlane.measure.energy.crosscheck import CrossCheck
from wattlane.measure.energy.integrate import DUTY, SAMPLE_PERIOD_S, PowerEnergy, integrate
from wattlane.measure.energy.ticks import Array

HARMONICS = 4
AVERAGE_LIMIT = 0.03
AVERAGE_S = 1.0


@dataclass(frozen=True, slots=True)
class Aliasing:
    """Whether samples may hide a load, with the reason of each sign that says so."""

    reasons: tuple[str, ...]

    @property
    def is_flagged(self) -> bool:
        """Whether any sign was found."""
        return bool(self.reasons)


def in_step(period_s: float, length_s: float, sample_period_s: float = SAMPLE_PERIOD_S) -> bool:
    """Return whether a load of `period_s` stays in step with the samples over a window of `length_s`."""
    if period_s > 2 * sample_period_s:
        return False
    samples, turns = length_s / sample_period_s, sample_period_s / period_s
    return any(samples * abs(q * turns - round(q * turns)) < 1 for q in range(1, HARMONICS + 1))


def find_aliasing(
    power: PowerEnergy,
    times_s: Array,
    average_w: Array | None = None,
    *,
    load_period_s: float | None = None,
    check: CrossCheck | None = None,
    sample_period_s: float = SAMPLE_PERIOD_S,
) -> Aliasing:
    """Return the signs of aliasing in a window; `average_w` are averaged powers at `times_s`, where there are any."""
    length_s, reasons = power.end_s - power.start_s, []
    if load_period_s is not None and in_step(load_period_s, length_s, sample_period_s):
        reasons.append(
            f"aliasing_period: the load's period of {load_period_s:.4g} s is in step with samples each "
            f"{sample_period_s:g} s over {length_s:.3g} s"
        )
    if average_w is not None and length_s > 2 * AVERAGE_S:
        reasons += _against_average(power, times_s, average_w)
    if check is not None and check.flagged and not check.explained:
        reasons.append("aliasing_counter: " + (check.reason or "").removeprefix("sources_disagree: "))
    return Aliasing(tuple(reasons))


def bound_j(power: PowerEnergy, lowest_w: float, highest_w: float, duty: float = DUTY) -> tuple[float, float]:
    """Return the least and most energy of the window; `lowest_w` and `highest_w` bound what the card can draw."""
    seen_j, unseen_s = duty * power.energy_j, (1 - duty) * (power.end_s - power.start_s)
    return seen_j + unseen_s * min(lowest_w, power.lowest_w), seen_j + unseen_s * max(highest_w, power.highest_w)


def _against_average(power: PowerEnergy, times_s: Array, average_w: Array) -> list[str]:
    """Return the reason if averaged power tells another energy; a field that lags says nothing of the first second."""
    lagged = integrate(times_s, average_w, power.start_s + AVERAGE_S / 2, power.end_s + AVERAGE_S / 2)
    lagged = lagged or integrate(times_s, average_w, power.start_s + AVERAGE_S, power.end_s)
    if lagged is None:
        return []
    mean_w = power.energy_j / (power.end_s - power.start_s)
    other_w = lagged.energy_j / (lagged.end_s - lagged.start_s)
    moved_w = float(np.ptp(average_w)) * AVERAGE_S / (power.end_s - power.start_s)
    reach_w = Z * math.hypot(power.samples_sd_j, power.edges_sd_j) / (power.end_s - power.start_s) + moved_w
    if abs(mean_w - other_w) <= max(reach_w, AVERAGE_LIMIT * other_w):
        return []
    return [f"aliasing_average: instant power averages {mean_w:.4g} W, the averaged field {other_w:.4g} W"]
