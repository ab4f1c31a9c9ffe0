"""Find when an energy counter moved from a record of polls.

    a value first seen at poll i was set in (max(t_{i−1}, t_i − period), t_i]          the tick's bracket
    a tick n periods from a well-placed one lies in that bracket shifted by n · period  if only one n fits

Polls are dense after an edge (`wattlane.measure.schedule`) and sparse before it, so the tick before an edge is placed
by those after it. Where nothing better is known the bracket stands, and its width is the tick's uncertainty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

REACH = 6  # ticks on each side that may place one
JITTER = 0.01  # share of a period by which a tick may be early or late
SAME_S = 1e-4  # polls closer than this are one
FEWEST = 8  # polls that tell whether a counter moves at each of them
NARROW_SHARE = 0.3  # of the distance to the next tick: brackets below it count for the period


@dataclass(frozen=True, slots=True)
class Ticks:
    """Ticks in order: each was between `lo_s` and `hi_s`, and the counter shows `energy_j` from then on.

    `period_s` is None where polls were too sparse to tell it; `period_sd_s` is its standard deviation.
    """

    lo_s: Array
    hi_s: Array
    energy_j: Array
    period_s: float | None
    period_sd_s: float = 0.0

    def __len__(self) -> int:
        return len(self.hi_s)

    @property
    def time_s(self) -> Array:
        """Middle of each bracket."""
        return (self.lo_s + self.hi_s) / 2

    def place(self, index: int) -> tuple[float, float]:
        """Return the bracket of tick `index`, narrowed by its neighbours where they leave one choice."""
        lo, hi = float(self.lo_s[index]), float(self.hi_s[index])
        if self.period_s is None:
            return lo, hi
        for other in range(max(index - REACH, 0), min(index + REACH + 1, len(self))):
            if other != index and self.hi_s[other] - self.lo_s[other] < hi - lo:
                lo, hi = self._narrowed(lo, hi, other)
        return lo, hi

    def _narrowed(self, lo: float, hi: float, other: int) -> tuple[float, float]:
        assert self.period_s is not None
        other_lo, other_hi = float(self.lo_s[other]), float(self.hi_s[other])
        middle = ((lo + hi) - (other_lo + other_hi)) / 2 / self.period_s
        fits = []
        for n in {int(np.floor(middle)), int(np.ceil(middle))} - {0}:
            slack = JITTER * self.period_s + 2 * abs(n) * self.period_sd_s
            new = max(lo, other_lo + n * self.period_s - slack), min(hi, other_hi + n * self.period_s + slack)
            if new[0] < new[1]:
                fits.append(new)
        return fits[0] if len(fits) == 1 else (lo, hi)


def reconstruct(times_s: Array, energy_j: Array, period_s: float | None = None) -> Ticks:
    """Return the ticks that a record of polls shows; the first poll counts as one whose time is unknown by a period.

    `times_s` ascends; `energy_j` is what the counter showed then. `period_s`: the counter's period where it is known.
    A counter that falls (a reset) is cut there: only what follows the last fall is used.
    """
    steps = np.diff(energy_j)
    if (steps < 0).any():
        after = int(np.flatnonzero(steps < 0)[-1]) + 1
        times_s, energy_j, steps = times_s[after:], energy_j[after:], steps[after:]
    moved = np.flatnonzero(steps > 0)
    lo, hi, shown = times_s[moved], times_s[moved + 1], energy_j[moved + 1]
    found_s, sd_s = _period_s(lo, hi) if period_s is None else (period_s, 0.0)
    longest_s = _longest_s(times_s, steps) if found_s is None else (1 + JITTER) * found_s + 2 * sd_s
    lo = np.maximum(lo, hi - longest_s)
    if len(moved):
        unknown_s = found_s if found_s is not None else float(np.median(np.diff(hi))) if len(hi) > 1 else hi[0] - lo[0]
        lo, hi = np.concatenate(([times_s[0] - unknown_s], lo)), np.concatenate(([times_s[0]], hi))
        shown = np.concatenate(([energy_j[0]], shown))
    return Ticks(lo, hi, shown, found_s, sd_s)


def _period_s(lo: Array, hi: Array) -> tuple[float | None, float]:
    """Return the mean distance of neighbouring ticks that were both well seen, and its standard deviation.

    Distances in a row share their inner ticks, so only the two ends of a row err. None if fewer than two were seen.
    """
    if len(hi) < 3:
        return None, 0.0
    apart, width = np.diff((lo + hi) / 2), hi - lo
    seen = np.maximum(width[1:], width[:-1]) < NARROW_SHARE * apart
    if seen.sum() < 2:
        return None, 0.0
    seen &= np.abs(apart - np.median(apart[seen])) < NARROW_SHARE * apart
    count, rows = int(seen.sum()), int((np.diff(seen.astype(int), prepend=0) == 1).sum())
    spread_s = float(width[1:][seen].mean()) * float(np.sqrt(rows / 6)) / count
    return float(apart[seen].mean()), spread_s


def _longest_s(times_s: Array, steps: Array) -> float:
    """Return a length that the period does not exceed: the shortest distance of polls between which it always moved."""
    apart = np.diff(times_s)
    told = apart > SAME_S
    apart, steps = apart[told], steps[told]
    if len(apart) < FEWEST:
        return float("inf")
    shortest_s = float(np.partition(apart, FEWEST - 1)[FEWEST - 1])
    return shortest_s if (steps[apart <= shortest_s] > 0).all() else float("inf")
