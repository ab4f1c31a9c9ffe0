"""Arrivals inside a minute as a random cascade: bursts at every time scale from a dozen numbers.

A minute's n arrivals are split between its halves, each half's between its quarters, and so on. The left share at
level l is Beta(a, a), so the split is beta-binomial and its excess over a fair coin is the level's dispersion

    rho_l = (sum (left − right)² − sum n) / sum n (n − 1) = 1 / (2 a + 1)        0: Poisson, towards 1: all on one side

estimated by moments over all minutes. Long silences would be broken up by independent minutes, so they are kept as
intervals and the cascade runs on the clock that stands still during them. Counts by minute are exact.
Source: the beta cascade of Riedi, Crouse, Ribeiro, Baraniuk (1999), "A multifractal wavelet model", applied to counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
MINUTE_S = 60.0
LEVELS = 12  # the finest cell is 60 s / 2^12 = 15 ms
SILENCE_S = 10.0
MARGIN = 0.01  # part of a silence left active at either end, so that arrivals beside it have room
POISSON = 1e-6  # below this dispersion a fair coin is drawn


@dataclass(frozen=True, slots=True)
class ActiveClock:
    """Wall time against active time, which stands still during silences: both ascending, in seconds."""

    wall_s: Floats
    active_s: Floats

    def active(self, wall_s: Floats) -> Floats:
        """Return the active time at each wall time."""
        return np.interp(wall_s, self.wall_s, self.active_s)

    def wall(self, active_s: Floats) -> Floats:
        """Return the wall time at each active time; at a silence, its end."""
        k = np.clip(np.searchsorted(self.active_s, active_s, side="right") - 1, 0, len(self.wall_s) - 2)
        wall: Floats = np.minimum(self.wall_s[k] + (active_s - self.active_s[k]), self.wall_s[-1])
        return wall


def active_clock(silences_s: Floats, span_s: float) -> ActiveClock:
    """Return the clock for silences of shape (n, 2), start and end, ascending within [0, span_s]."""
    wall = np.concatenate(([0.0], silences_s.ravel(), [span_s]))
    steps = np.diff(wall)
    steps[1::2] = 0.0
    return ActiveClock(wall, np.concatenate(([0.0], np.cumsum(steps))))


def silences(arrival_s: Floats, least_s: float = SILENCE_S) -> Floats:
    """Return the gaps of at least `least_s`, shortened by 1 % at either end: shape (n, 2), seconds."""
    gaps_s = np.diff(arrival_s)
    at = np.flatnonzero(gaps_s >= least_s)
    inset = MARGIN * gaps_s[at]
    return np.stack([arrival_s[at] + inset, arrival_s[at + 1] - inset], axis=1)


def minute_edges_s(minutes: int, span_s: float) -> Floats:
    """Return the wall times between minutes; the last minute ends with the trace."""
    edges: Floats = np.minimum(np.arange(minutes + 1) * MINUTE_S, span_s)
    return edges


def dispersions(arrival_s: Floats, silences_s: Floats, levels: int = LEVELS) -> Floats:
    """Return rho for each level, from arrivals that start at 0 s."""
    minutes = int(arrival_s[-1] // MINUTE_S) + 1
    clock = active_clock(silences_s, float(arrival_s[-1]))
    edges = clock.active(minute_edges_s(minutes, float(arrival_s[-1])))
    minute = np.minimum((arrival_s // MINUTE_S).astype(np.int64), minutes - 1)
    length = np.maximum(np.diff(edges)[minute], 1e-12)
    place = np.clip((clock.active(arrival_s) - edges[minute]) / length, 0.0, 1.0 - 1e-12)
    found = np.zeros(levels)
    for level in range(levels):
        cells = 2 ** (level + 1)
        halves = np.bincount(minute * cells + (place * cells).astype(np.int64), minlength=minutes * cells)
        n = halves.reshape(-1, 2).sum(axis=1).astype(np.float64)
        difference = (halves[::2] - halves[1::2]).astype(np.float64)
        pairs = float((n * (n - 1)).sum())
        found[level] = ((difference**2 - n).sum() / pairs) if pairs else 0.0
    return np.clip(found, 0.0, 0.999)


def draw(
    random: np.random.Generator, per_minute: Counts, dispersion: Floats, silences_s: Floats, span_s: float
) -> Floats:
    """Return ascending arrivals from 0 to `span_s` with exactly the given counts by minute."""
    minutes = len(per_minute)
    clock = active_clock(silences_s, span_s)
    edges = clock.active(minute_edges_s(minutes, span_s))
    n = per_minute
    for rho in dispersion:
        a = (1.0 / rho - 1.0) / 2.0 if rho > POISSON else 0.0
        left = random.binomial(n, random.beta(a, a, len(n)) if a else 0.5)
        n = np.stack([left, n - left], axis=1).ravel()
    cells = 2 ** len(dispersion)
    cell = np.repeat(np.arange(len(n)), n)
    minute = cell // cells
    place = (cell % cells + random.random(len(cell))) / cells
    wall = clock.wall(edges[minute] + place * np.diff(edges)[minute])
    bounds = minute_edges_s(minutes, span_s)
    # rounding at an edge must not move a request into another minute; the last minute may have no length
    last_s = np.maximum(bounds[minute], np.nextafter(bounds[minute + 1], 0.0))
    arrival_s = np.sort(np.clip(wall, bounds[minute], last_s))
    arrival_s[0], arrival_s[-1] = 0.0, span_s
    return arrival_s
