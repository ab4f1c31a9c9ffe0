"""Energy as the integral of sampled power: every sample is kept, repeats too, and both edges are met.

    linear: E = ∫ P dt by trapezoid through the samples and the interpolated edges
    hold:   each sample stands until the next one

Before the first and after the last sample power is held, for at most `max_gap_s`. Parts of the error:

    edges    the sample that holds an edge is up to one sample period old: sd = S · D / √12 per edge, D the power
             change beside the edge
    samples  a sensor that sees a share `duty` of each period S: sd = S · sqrt(n (1 − duty) v), v = half the mean
             square of successive differences of its n samples. It assumes that the load is not in step with the
             sensor; see `wattlane.measure.energy.aliasing`
    gaps     a silence g longer than 3 periods: ± g (P_max − P_min) / 2, a bound
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from wattlane.measure.energy.ticks import Array

MAX_GAP_S = 1.0  # a longer silence of the meter inside a window leaves its energy unknown
DUTY = 0.25  # share of the time seen by the power sensors of A100 and H100 (arXiv 2312.02741)
SAMPLE_PERIOD_S = 0.1  # same source
Rule = Literal["linear", "hold"]


@dataclass(frozen=True, slots=True)
class PowerEnergy:
    """Joules of integrated power between two instants: standard deviations of parts, bounds of gaps and averaging."""

    start_s: float
    end_s: float
    energy_j: float
    edges_sd_j: float
    samples_sd_j: float
    gaps_j: float
    lowest_w: float
    highest_w: float
    averaging_j: float = 0.0


def integrate(
    times_s: Array,
    power_w: Array,
    start_s: float,
    end_s: float,
    *,
    rule: Rule = "linear",
    max_gap_s: float = MAX_GAP_S,
    sample_period_s: float = SAMPLE_PERIOD_S,
    duty: float = DUTY,
) -> PowerEnergy | None:
    """Return the integral of samples (`times_s` ascending) over a window.

    None where a silence above `max_gap_s` leaves part of the window unseen, or there are fewer than 2 samples.
    """
    if len(times_s) < 2 or end_s <= start_s:
        return None
    inside = (times_s > start_s) & (times_s < end_s)
    # The neighbours outside the window belong to the silences at its edges.
    first = max(int(np.searchsorted(times_s, start_s, side="right")) - 1, 0)
    last = min(int(np.searchsorted(times_s, end_s, side="left")) + 1, len(times_s))
    seen = times_s[first:last]
    silences = np.diff(np.concatenate(([min(seen[0], start_s)], seen, [max(seen[-1], end_s)])))
    if float(silences.max()) > max_gap_s:
        return None
    grid = np.concatenate(([start_s], times_s[inside], [end_s]))
    lengths = np.diff(grid)
    if rule == "linear":
        watts = np.interp(grid, times_s, power_w)
        energy_j = float(np.sum((watts[:-1] + watts[1:]) * lengths) / 2)
    else:
        held = np.clip(np.searchsorted(times_s, grid[:-1], side="right") - 1, 0, None)
        energy_j = float(np.sum(power_w[held] * lengths))
    values = power_w[first:last]
    low, high = float(values.min()), float(values.max())
    usual_s = max(float(np.median(np.diff(times_s))), sample_period_s)
    gaps_j = float(silences[silences > 3 * usual_s].sum()) * (high - low) / 2
    edges = [_beside_w(times_s, power_w, edge_s, usual_s) * usual_s / np.sqrt(12) for edge_s in (start_s, end_s)]
    samples = _samples_sd_j(seen, values, usual_s, duty)
    return PowerEnergy(start_s, end_s, energy_j, float(np.hypot(*edges)), samples, gaps_j, low, high)


def _beside_w(times_s: Array, power_w: Array, edge_s: float, period_s: float) -> float:
    near = power_w[np.abs(times_s - edge_s) <= 2 * period_s]
    return float(near.max() - near.min()) if len(near) else float(power_w.max() - power_w.min())


def _samples_sd_j(times_s: Array, power_w: Array, period_s: float, duty: float) -> float:
    """Return the standard deviation from what part-time samples did not see."""
    picked = np.searchsorted(times_s, np.arange(times_s[0], times_s[-1] + 1e-9, period_s))
    samples = power_w[np.minimum(picked, len(power_w) - 1)]
    if len(samples) < 2:
        return 0.0
    variance = float(np.mean(np.diff(samples) ** 2)) / 2
    return period_s * float(np.sqrt(len(samples) * (1 - duty) * variance))
