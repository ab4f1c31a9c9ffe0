"""Energy between two instants from a counter that moves in ticks.

    E(t) = C_k + f (C_{k+1} − C_k),  f = (t − τ_k) / (τ_{k+1} − τ_k),     E = E(end) − E(start)

Two errors per edge. Placing: the ticks are known to their brackets, taken as uniform in them,

    sd = r · sqrt((1 − f)² s_k² + f² s_{k+1}²),   s = bracket / √12,  r the mean power of the tick.

Shape: power may change inside the tick that holds the edge. With D the spread of mean power over the ticks beside it
and X the energy by which its tick stands out of both neighbours,

    sd² = (f (1 − f) T D)² / 3  (a step at an unknown place)  +  f (1 − f) X²  (a spike at an unknown place).

A load that repeats within a tick leaves all ticks alike. Power samples tell it: D is not taken below their range beside
the edge. Where they are in step with the load too, only a bound is left: power r = step / T of the tick was made of
powers between the lowest l and the highest h that the card can draw, and of the first f of it

    |E(f) − f r T|  ≤  T max(min(f (h − r), (1 − f) (r − l)), min(f (r − l), (1 − f) (h − r))).

Aligned edges lie on ticks: f = 0, so only placing remains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wattlane.measure.energy.ticks import Array, Ticks

MAX_REACH = 2.5  # tick lengths that a window may reach beyond the last tick seen
BESIDE = 2  # ticks on each side of an edge that tell how much power varies there
SWING_S = 0.5  # power samples so near to an edge tell what its tick may hide: a load that repeats within a tick
Samples = tuple[Array, Array]
NO_SAMPLES: Samples = (np.array([]), np.array([]))


@dataclass(frozen=True, slots=True)
class CounterEnergy:
    """Joules between `start_s` and `end_s`, and standard deviations from placing ticks and from shape.

    Where the shape has only a bound, that is `hidden_j` and its standard deviation is 0.
    """

    start_s: float
    end_s: float
    energy_j: float
    tick_sd_j: float
    edges_sd_j: float
    hidden_j: float = 0.0

    @property
    def mean_w(self) -> float:
        """Mean power of the window."""
        return self.energy_j / (self.end_s - self.start_s)


@dataclass(frozen=True, slots=True)
class _Edge:
    """An edge at a `share` of a tick of `length_s` and mean power `power_w`."""

    energy_j: float
    tick_sd_j: float
    shape_sd_j: float
    share: float
    length_s: float
    power_w: float

    def hidden_j(self, lowest_w: float, highest_w: float) -> float:
        """Return how far the energy may lie from interpolation, whatever power did between the limits."""
        f = min(max(self.share, 0.0), 1.0)
        above_w, below_w = max(highest_w - self.power_w, 0.0), max(self.power_w - lowest_w, 0.0)
        inside_w = max(min(f * above_w, (1 - f) * below_w), min(f * below_w, (1 - f) * above_w))
        return (inside_w + abs(self.share - f) * max(above_w, below_w)) * self.length_s


def counter_energy(
    ticks: Ticks,
    start_s: float,
    end_s: float,
    samples: Samples = NO_SAMPLES,
    limits_w: tuple[float, float] | None = None,
) -> CounterEnergy | None:
    """Return the counter's energy of a window; None if the ticks do not reach over both edges.

    Args:
        ticks: of the counter.
        start_s: start of the window.
        end_s: its end.
        samples: times and watts of the same card; they tell how much power changes within a tick.
        limits_w: lowest and highest power the card can draw, for the bound of a load that hides from the samples too.
    """
    start, end = (_edge(ticks, edge_s, _swing_w(samples, edge_s)) for edge_s in (start_s, end_s))
    if start is None or end is None or end_s <= start_s:
        return None
    hidden_j = 0.0 if limits_w is None else start.hidden_j(*limits_w) + end.hidden_j(*limits_w)
    return CounterEnergy(
        start_s,
        end_s,
        end.energy_j - start.energy_j,
        float(np.hypot(start.tick_sd_j, end.tick_sd_j)),
        float(np.hypot(start.shape_sd_j, end.shape_sd_j)) if limits_w is None else 0.0,
        hidden_j,
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


def _swing_w(samples: Samples, edge_s: float) -> float:
    """Return the range of the power samples beside an edge; 0 where there are none."""
    times_s, power_w = samples
    beside = power_w[np.abs(times_s - edge_s) <= SWING_S]
    return float(np.ptp(beside)) if len(beside) else 0.0


def _edge(ticks: Ticks, time_s: float, swing_w: float) -> _Edge | None:
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
    spread_w = max(spread_w, swing_w)
    shape = (inside * (1 - inside) * length_s * spread_w) ** 2 / 3 + inside * (1 - inside) * excess_j**2
    outside_s = abs(share - inside) * length_s
    shape += (outside_s * spread_w) ** 2
    return _Edge(
        float(ticks.energy_j[k]) + share * step_j,
        power_w * float(np.hypot(*placing)) / np.sqrt(12),
        float(np.sqrt(shape)),
        share,
        length_s,
        power_w,
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
