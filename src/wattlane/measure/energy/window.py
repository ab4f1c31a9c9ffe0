"""Energy between two instants from a counter that moves in ticks.

    E(t) = C_k + f (C_{k+1} − C_k),  f = (t − τ_k) / (τ_{k+1} − τ_k),     E = E(end) − E(start)

Two errors per edge. Placing: the ticks are known to their brackets, taken as uniform in them,

    sd = r · sqrt((1 − f)² s_k² + f² s_{k+1}²),   s = bracket / √12,  r the mean power of the tick.

Shape: power may change inside the tick that holds the edge. With D the spread of mean power over the ticks beside it
and X the energy by which its tick stands out of both neighbours,

    sd² = (f (1 − f) T D)² / 3  (a step at an unknown place)  +  f (1 − f) X²  (a spike at an unknown place).

Aligned edges lie on ticks: f = 0, so only placing remains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wattlane.measure.energy.ticks import Ticks

MAX_REACH = 2.5  # tick lengths that a window may reach beyond the last tick seen
BESIDE = 2  # ticks on each side of an edge that tell how much power varies there


@dataclass(frozen=True, slots=True)
class CounterEnergy:
    """Joules between `start_s` and `end_s`, and standard deviations from placing ticks and from shape."""

    start_s: float
    end_s: float
    energy_j: float
    tick_sd_j: float
    edges_sd_j: float

    @property
    def mean_w(self) -> float:
        """Mean power of the window."""
        return self.energy_j / (self.end_s - self.start_s)


@dataclass(frozen=True, slots=True)
class _Edge:
    energy_j: float
    tick_sd_j: float
    shape_sd_j: float


def counter_energy(ticks: Ticks, start_s: float, end_s: float) -> CounterEnergy | None:
    """Return the counter's energy of a window; None if the ticks do not reach over both edges."""
    start, end = _edge(ticks, start_s), _edge(ticks, end_s)
    if start is None or end is None or end_s <= start_s:
        return None
    return CounterEnergy(
        start_s,
        end_s,
        end.energy_j - start.energy_j,
        float(np.hypot(start.tick_sd_j, end.tick_sd_j)),
        float(np.hypot(start.shape_sd_j, end.shape_sd_j)),
    )


def aligned(ticks: Ticks, start_s: float, end_s: float) -> CounterEnergy | None:
    """Return the energy from the first tick after `start_s` to the first tick after `end_s`, with those edges.

    None if there is no such pair of ticks.
    """
    times = ticks.time_s
    # The first entry is the first poll, not a tick that was seen.
    first, last = max(int(np.searchsorted(times, start_s)), 1), int(np.searchsorted(times, end_s))
    if first >= last or last >= len(times):
        return None
    places = [ticks.place(index) for index in (first, last)]
    at = [(lo + hi) / 2 for lo, hi in places]
    energy_j = float(ticks.energy_j[last] - ticks.energy_j[first])
    width_s = float(np.hypot(places[0][1] - places[0][0], places[1][1] - places[1][0])) / np.sqrt(12)
    return CounterEnergy(at[0], at[1], energy_j, float(energy_j / (at[1] - at[0]) * width_s), 0.0)


def _edge(ticks: Ticks, time_s: float) -> _Edge | None:
    times = ticks.time_s
    if len(times) < 2 or time_s < ticks.lo_s[0]:
        return None
    k = int(np.clip(np.searchsorted(times, time_s, side="right") - 1, 0, len(times) - 2))
    here, there = ticks.place(k), ticks.place(k + 1)
    before_s, after_s = sum(here) / 2, sum(there) / 2
    length_s = max(after_s - before_s, 1e-9)
    step_j = float(ticks.energy_j[k + 1] - ticks.energy_j[k])
    share = (time_s - before_s) / length_s
    if share > MAX_REACH:
        return None
    power_w, inside = step_j / length_s, float(np.clip(share, 0.0, 1.0))
    placing = ((1 - share) * (here[1] - here[0]), share * (there[1] - there[0]))
    spread_w, excess_j = _variation(ticks, k, power_w, length_s)
    shape = (inside * (1 - inside) * length_s * spread_w) ** 2 / 3 + inside * (1 - inside) * excess_j**2
    outside_s = abs(share - inside) * length_s
    shape += (outside_s * spread_w) ** 2
    return _Edge(
        float(ticks.energy_j[k]) + share * step_j,
        power_w * float(np.hypot(*placing)) / np.sqrt(12),
        float(np.sqrt(shape)),
    )


def _variation(ticks: Ticks, k: int, power_w: float, length_s: float) -> tuple[float, float]:
    """Return the spread of mean power around tick `k`, and the energy by which it stands out of its neighbours."""
    first, last = max(k - BESIDE, 0), min(k + BESIDE + 2, len(ticks))
    rates = np.diff(ticks.energy_j[first:last]) / np.maximum(np.diff(ticks.time_s[first:last]), 1e-9)
    others = np.delete(rates, k - first)
    if not len(others):
        return power_w, 0.0
    low, high = float(others.min()), float(others.max())
    excess_w = max(power_w - high, low - power_w, 0.0)
    return max(high, power_w) - min(low, power_w), excess_w * length_s
