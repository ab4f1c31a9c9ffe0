"""What a phase waits for: arithmetic, memory, or the program that launches its work.

    compute floor = FLOP / peak rate          byte floor = bytes / bandwidth          floor = the larger
    near its floor (measured ≤ `NEAR` · floor)     compute-bound or bandwidth-bound, by the larger floor
    far above it and flat in the prompt length     launch-bound: the time does not depend on the work
    far above it and growing with it               unexplained: slow kernels, padding, or wrong facts

Floors are lower bounds, so a time below them means wrong facts or a wrong clock and is refused. This is the rule for
measured times; where a law says what the time consists of, `wattlane.model.regime` takes its largest part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from wattlane.core.errors import InputError, MeasurementError

NEAR = 2.0  # of the floor: eager kernels reach 50 to 90 % of a peak
FLAT = 0.15  # largest relative growth of time that still counts as none ...
SPREAD = 2.0  # ... while the prompt grows at least this many times
CLOCK_ERROR = 0.05  # a time may lie this share below its floor before it is refused


class Bound(StrEnum):
    """What limits a phase."""

    COMPUTE = "compute"
    BANDWIDTH = "bandwidth"
    LAUNCH = "launch"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured time with the work it did: of a whole prefill, or of one decode step."""

    prompt_tokens: int
    measured_s: float
    flop: float
    traffic_bytes: float


@dataclass(frozen=True, slots=True)
class Regime:
    """The answer with the figures it rests on: medians over the samples.

    `growth` is the change of time from the shortest to the longest prompts as a share of the time; None when the
    prompts hardly differ in length.
    """

    bound: Bound
    compute_floor_s: float
    byte_floor_s: float
    times_floor: float
    growth: float | None

    def __str__(self) -> str:
        growth = "not known" if self.growth is None else f"{self.growth:+.0%}"
        bound = "unexplained" if self.bound is Bound.UNEXPLAINED else f"{self.bound.value}-bound"
        return (
            f"{bound}: {self.times_floor:.2g} times the floor (compute {self.compute_floor_s * 1e3:.3g} ms, "
            f"bytes {self.byte_floor_s * 1e3:.3g} ms); growth with the prompt {growth}"
        )


def classify(samples: Sequence[Sample], peak_flop_per_s: float, bandwidth_bytes_per_s: float) -> Regime:
    """Return what bounds the phase that `samples` measured.

    Args:
        samples: of one phase, model and configuration; prompts of different lengths tell launch-bound from slow.
        peak_flop_per_s: of the units the precision runs on (fp32 without TF32: the CUDA cores).
        bandwidth_bytes_per_s: of device memory.

    Raises:
        InputError: no samples, or a value that is not above 0.
        MeasurementError: the median time lies below its floor.
    """
    problems = [
        f"{name} is {value}; expected above 0"
        for name, value in (("peak_flop_per_s", peak_flop_per_s), ("bandwidth_bytes_per_s", bandwidth_bytes_per_s))
        if not value > 0
    ]
    if not samples or any(not min(s.prompt_tokens, s.measured_s, s.flop, s.traffic_bytes) > 0 for s in samples):
        problems.append(f"found {len(samples)} samples, some empty; expected tokens, seconds, FLOP and bytes above 0")
    if problems:
        raise InputError.gathered("regime", problems)
    compute_s = np.array([s.flop for s in samples]) / peak_flop_per_s
    bytes_s = np.array([s.traffic_bytes for s in samples]) / bandwidth_bytes_per_s
    floor_s = np.maximum(compute_s, bytes_s)
    measured_s = np.array([s.measured_s for s in samples])
    times = float(np.median(measured_s / floor_s))
    if times < 1 - CLOCK_ERROR:
        raise MeasurementError(
            f"the measured time is {times:.2f} of its floor ({np.median(measured_s):.3g} s against "
            f"{np.median(floor_s):.3g} s); expected at least 1; check peak, bandwidth, counts and that the device was "
            "synchronised"
        )
    growth = _growth(np.array([s.prompt_tokens for s in samples]), measured_s)
    bound = _bound(times, float(np.median(compute_s)), float(np.median(bytes_s)), growth)
    return Regime(bound, float(np.median(compute_s)), float(np.median(bytes_s)), times, growth)


def _bound(times: float, compute_s: float, bytes_s: float, growth: float | None) -> Bound:
    if times <= NEAR:
        return Bound.COMPUTE if compute_s >= bytes_s else Bound.BANDWIDTH
    return Bound.LAUNCH if growth is not None and abs(growth) <= FLAT else Bound.UNEXPLAINED


def _growth(prompts: np.ndarray, measured_s: np.ndarray) -> float | None:
    """Return the change over the range of prompts on a least-squares line, as a share of the median time."""
    if len(prompts) < 2 or prompts.max() < SPREAD * prompts.min():
        return None
    slope_s = float(np.polyfit(prompts, measured_s, 1)[0])
    return slope_s * float(prompts.max() - prompts.min()) / float(np.median(measured_s))
