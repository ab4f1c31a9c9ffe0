"""A simulated card: power is known at every instant, and sensors show it the way those of a real card do.

    counter(t) = gain · E_true(τ_k) cut to the resolution,  τ_k the last tick before t
    power(t)   = gain · mean of P over the first `duty` of the last finished sampling period, with noise
    average(t) = gain · mean of P over the last `average_s`, renewed each sampling period, with noise

Its readings are modelled, never measured: nothing drew that power. What is not known of a real card (tick, phase, gain)
is drawn from `CardPriors`, whose ranges are those seen in the field.
Sources: arXiv 2312.02741 (part-time sampling, gain), NVML reference (1 s average), PETSc and ML.ENERGY notes (tick).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from wattlane.core.types import Boundary, Origin
from wattlane.measure.meters.loads import Array, Load
from wattlane.measure.readings import Channel, Reading

SOURCE = "simulated"
_NOISES = 4096


@dataclass(frozen=True, slots=True)
class CardPriors:
    """What is known of a card before it was looked at; a `CardSensor` is one draw.

    `tick_s` uniform: counters move each 20-100 ms (PETSc documentation; ML.ENERGY: about 100 ms). `gain_sd`: about 5 %
    is quoted for the sensor of arXiv 2312.02741, read here as two standard deviations. `duty` and `sample_period_s`:
    A100 and H100 sensors see 25 % of the time (same). `average_s`: the NVML reference. `resolution_j`: NVML counts mJ.
    `noise` of a power sample and `tick_jitter_s` are assumed. `part_time_counter`: whether the counter shares the
    part-time sampling is not settled; False by default.
    """

    tick_s: tuple[float, float] = (0.02, 0.1)
    tick_jitter_s: float = 0.0005
    gain_sd: float = 0.025
    duty: float = 0.25
    sample_period_s: float = 0.1
    average_s: float = 1.0
    noise: float = 0.01
    resolution_j: float = 1e-3
    part_time_counter: bool = False

    def draw(self, seed: int) -> CardSensor:
        """Return one card: its tick, phases and gain."""
        rng = np.random.default_rng(seed)
        tick_s = float(rng.uniform(*self.tick_s))
        return CardSensor(
            tick_s=tick_s,
            tick_phase_s=float(rng.uniform(0, tick_s)),
            tick_jitter_s=self.tick_jitter_s,
            gain=float(np.exp(rng.normal(0.0, self.gain_sd))),
            duty=self.duty,
            sample_period_s=self.sample_period_s,
            sample_phase_s=float(rng.uniform(0, self.sample_period_s)),
            average_s=self.average_s,
            noise=self.noise,
            resolution_j=self.resolution_j,
            start_j=float(rng.uniform(0, 1e6)),
            part_time_counter=self.part_time_counter,
            seed=seed,
        )


@dataclass(frozen=True, slots=True)
class CardSensor:
    """The sensors of one card. `tick_s` of 0: the counter moves at every read; `has_*` of False: it is absent."""

    tick_s: float = 0.1
    tick_phase_s: float = 0.0
    tick_jitter_s: float = 0.0
    gain: float = 1.0
    duty: float = 0.25
    sample_period_s: float = 0.1
    sample_phase_s: float = 0.0
    average_s: float = 1.0
    noise: float = 0.0
    resolution_j: float = 1e-3
    start_j: float = 0.0
    part_time_counter: bool = False
    has_counter: bool = True
    has_power: bool = True
    has_average: bool = True
    seed: int = 0


PERFECT = CardSensor(tick_s=0.0, duty=1.0, sample_period_s=1e-3, average_s=1e-3, resolution_j=0.0)


@dataclass(frozen=True, slots=True)
class SimulatedCard:
    """A `Meter` whose truth is known. Times are those of `clock`; the load begins at `origin_s` (default: now)."""

    load: Load
    sensor: CardSensor = CardSensor()
    clock: Callable[[], float] = time.monotonic
    device: str = "card 0"
    origin_s: float | None = None
    _noise: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.origin_s is None:
            object.__setattr__(self, "origin_s", self.clock())
        rng = np.random.default_rng([self.sensor.seed, 1])
        object.__setattr__(self, "_noise", np.vstack((rng.normal(size=(2, _NOISES)), rng.uniform(-1, 1, (1, _NOISES)))))

    def read(self) -> Reading:
        """Return what the sensors show now."""
        return self.read_at([self.clock()])[0]

    def read_at(self, times_s: Sequence[float] | Array) -> list[Reading]:
        """Return what the sensors show at each of `times_s` (of the clock)."""
        since = np.asarray(times_s, dtype=float) - self._origin()
        counter, power, average = self.counter_j(since), self.instant_w(since), self.average_w(since)
        has = self.sensor
        return [
            Reading(
                float(time_s),
                SOURCE,
                Boundary.GPU,
                (
                    Channel(
                        self.device,
                        float(energy_j) if has.has_counter else None,
                        float(power_w) if has.has_power else None,
                        float(average_w) if has.has_average else None,
                    ),
                ),
                Origin.MODELLED,
            )
            for time_s, energy_j, power_w, average_w in zip(times_s, counter, power, average, strict=True)
        ]

    def true_energy_j(self, start_s: float, end_s: float) -> float:
        """Return the joules drawn between two times of the clock."""
        both = self.load.energy_j(np.array([start_s, end_s]) - self._origin())
        return float(both[1] - both[0])

    def true_power_w(self, time_s: float) -> float:
        """Return the watts drawn at a time of the clock."""
        return float(self.load.power_w(time_s - self._origin()))

    def tick_before_s(self, since_s: ArrayLike) -> Array:
        """Return the last counter tick at or before each time since the origin."""
        times, s = np.asarray(since_s, dtype=float), self.sensor
        if s.tick_s <= 0:
            return times
        index = np.floor((times - s.tick_phase_s) / s.tick_s) + 1
        for _ in range(2):
            index = np.where(self._tick(index) > times, index - 1, index)
        return self._tick(index)

    def counter_j(self, since_s: ArrayLike) -> Array:
        """Return what the energy counter shows at each time since the origin."""
        s, ticks = self.sensor, self.tick_before_s(since_s)
        true_j = self._part_time_j(ticks) if s.part_time_counter else self.load.energy_j(ticks)
        shown = s.start_j + s.gain * true_j
        return np.asarray(np.floor(shown / s.resolution_j) * s.resolution_j if s.resolution_j > 0 else shown)

    def instant_w(self, since_s: ArrayLike) -> Array:
        """Return what the instant power field shows: the last part-time sample."""
        s, index = self.sensor, self._sample(np.asarray(since_s, dtype=float), self.sensor.duty)
        seen = index * s.sample_period_s + s.sample_phase_s
        width = s.duty * s.sample_period_s
        mean = (self.load.energy_j(seen + width) - self.load.energy_j(seen)) / width
        return np.asarray(s.gain * mean * (1 + s.noise * self._of(0, index)))

    def average_w(self, since_s: ArrayLike) -> Array:
        """Return what the averaged power field shows: the mean of the last `average_s`."""
        s, index = self.sensor, self._sample(np.asarray(since_s, dtype=float), 0.0)
        end = index * s.sample_period_s + s.sample_phase_s
        mean = (self.load.energy_j(end) - self.load.energy_j(end - s.average_s)) / s.average_s
        return np.asarray(s.gain * mean * (1 + s.noise * self._of(1, index) / 3))

    def _origin(self) -> float:
        assert self.origin_s is not None
        return self.origin_s

    def _of(self, row: int, index: Array) -> Array:
        return np.asarray(self._noise[row][index.astype(np.int64) % _NOISES])

    def _tick(self, index: Array) -> Array:
        s = self.sensor
        return np.asarray(s.tick_phase_s + index * s.tick_s + s.tick_jitter_s * self._of(2, index))

    def _sample(self, times: Array, duty: float) -> Array:
        """Return the index of the last sampling period whose seen part had ended."""
        s = self.sensor
        return np.floor((times - s.sample_phase_s) / s.sample_period_s - duty)

    def _part_time_j(self, ticks: Array) -> Array:
        """Return what a counter adds up that takes each part-time sample for its whole period."""
        s = self.sensor
        last = self._sample(ticks, s.duty)
        grid = np.arange(min(0.0, float(np.min(last))), float(np.max(last)) + 1)
        seen, width = grid * s.sample_period_s + s.sample_phase_s, s.duty * s.sample_period_s
        mean = (self.load.energy_j(seen + width) - self.load.energy_j(seen)) / width
        total = np.cumsum(mean) * s.sample_period_s
        return np.asarray(total[(last - grid[0]).astype(np.int64)])
