"""Known power over time, for the simulated card: pieces on which power runs linearly, so that energy is exact.

    E(t) = E_i + (t − t_i) P_i + (t − t_i)² (Q_i − P_i) / (2 (t_{i+1} − t_i))      P_i, Q_i: power at the piece's ends

Before the first piece its first power holds, after the last its last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Load:
    """Power of `name`: `edges_s` (n + 1, ascending), `start_w` and `end_w` (n each) at the ends of each piece."""

    name: str
    edges_s: Array
    start_w: Array
    end_w: Array
    period_s: float | None = None
    _at_edges_j: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        lengths = np.diff(self.edges_s)
        if not len(lengths) == len(self.start_w) == len(self.end_w) or (lengths <= 0).any():
            raise ValueError(f"load {self.name}: expected n + 1 ascending edges for n powers")
        energies = lengths * (self.start_w + self.end_w) / 2
        object.__setattr__(self, "_at_edges_j", np.concatenate(([0.0], np.cumsum(energies))))

    def energy_j(self, time_s: ArrayLike) -> Array:
        """Return joules since the first edge at each time (negative before it), the shape of `time_s`."""
        times = np.asarray(time_s, dtype=float)
        piece = self._piece(times)
        into = np.clip(times, self.edges_s[0], self.edges_s[-1]) - self.edges_s[piece]
        slope = (self.end_w - self.start_w)[piece] / np.diff(self.edges_s)[piece]
        inside = self._at_edges_j[piece] + into * (self.start_w[piece] + into * slope / 2)
        before = np.minimum(times - self.edges_s[0], 0.0) * self.start_w[0]
        after = np.maximum(times - self.edges_s[-1], 0.0) * self.end_w[-1]
        return np.asarray(inside + before + after)

    def power_w(self, time_s: ArrayLike) -> Array:
        """Return watts at each time, the shape of `time_s`."""
        times = np.asarray(time_s, dtype=float)
        piece = self._piece(times)
        share = (np.clip(times, self.edges_s[0], self.edges_s[-1]) - self.edges_s[piece]) / np.diff(self.edges_s)[piece]
        return np.asarray(self.start_w[piece] + share * (self.end_w - self.start_w)[piece])

    def _piece(self, times: Array) -> NDArray[np.intp]:
        return np.clip(np.searchsorted(self.edges_s, times, side="right") - 1, 0, len(self.start_w) - 1)


def steps(name: str, edges_s: Sequence[float] | Array, power_w: Sequence[float] | Array) -> Load:
    """Return a load that holds `power_w` (n) between `edges_s` (n + 1)."""
    watts = np.asarray(power_w, dtype=float)
    return Load(name, np.asarray(edges_s, dtype=float), watts, watts)


def constant(power_w: float) -> Load:
    """Return `power_w` at all times."""
    return steps("constant", [0.0, 1.0], [power_w])


def ramp(start_w: float, end_w: float, span_s: float) -> Load:
    """Return power that runs from `start_w` to `end_w` in `span_s` and stays."""
    return Load("ramp", np.array([0.0, span_s]), np.array([start_w]), np.array([end_w]))


def square_wave(
    low_w: float, high_w: float, period_s: float, span_s: float, *, share_high: float = 0.5, phase_s: float = 0.0
) -> Load:
    """Return `high_w` for `share_high` of each period and `low_w` for the rest, from `phase_s` before time 0."""
    count = int(np.ceil((span_s + phase_s) / period_s)) + 1
    starts = np.arange(count) * period_s - phase_s
    edges = np.sort(np.concatenate((starts, starts + share_high * period_s, [starts[-1] + period_s])))
    load = steps("square-wave", edges, np.tile([high_w, low_w], count))
    return Load("square-wave", load.edges_s, load.start_w, load.end_w, period_s)


def spiky(base_w: float, peak_w: float, per_s: float, width_s: float, span_s: float, seed: int) -> Load:
    """Return `base_w` with spikes of `peak_w`, exponential gaps of mean 1/`per_s` and widths of 0.5-1.5 `width_s`."""
    rng = np.random.default_rng(seed)
    count = int(span_s * per_s * 2) + 20
    gaps = rng.exponential(1 / per_s, count) + 1e-4
    widths = rng.uniform(0.5, 1.5, count) * width_s
    edges = np.concatenate(([0.0], np.cumsum(np.column_stack((gaps, widths)).ravel())))
    return steps("spiky", edges, np.tile([base_w, peak_w], count))


def decode_like(base_w: float, peak_w: float, step_s: float, span_s: float, seed: int, jitter: float = 0.1) -> Load:
    """Return decode steps of about `step_s` (power ripples by 20 %, the batch drifts) and prompts read at `peak_w`.

    About one step in 20 is followed by 40-250 ms at `peak_w`, as when a prompt is admitted. `jitter` is the relative
    standard deviation of a step.
    """
    rng = np.random.default_rng(seed)
    count = int(span_s / step_s) + 20
    lengths = step_s * np.clip(rng.normal(1.0, jitter, count), 0.3, 3.0)
    drift = np.clip(1.0 + 0.02 * np.cumsum(rng.normal(0.0, 0.3, count)), 0.8, 1.2)
    prompt_s = np.where(rng.random(count) < 0.05, rng.uniform(0.04, 0.25, count), 1e-4)
    prompt_w = np.where(prompt_s > 1e-3, peak_w, base_w)
    pieces = np.column_stack((0.7 * lengths, 0.3 * lengths, prompt_s)).ravel()
    watts = np.column_stack((1.06 * base_w * drift, 0.86 * base_w * drift, prompt_w)).ravel()
    return steps("decode-like", np.concatenate(([0.0], np.cumsum(pieces))), watts)
