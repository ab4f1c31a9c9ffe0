"""What lowering the SM clock does to time and power: a prior, not a measurement.

With r = clock / maximum clock and v(r) = voltage / voltage at the maximum clock,

    v(r)           = v_min below the knee, rising linearly to 1 at r = 1
    compute rate   ∝ r
    bandwidth      ∝ min(1, r / bandwidth_knee)          HBM has its own clock; low SM clocks cannot keep it busy
    busy power     = idle + (busy − idle)·(off_core + (1 − off_core)·v²·(1 − share + share·r))
                     memory, links and other rails do not follow the SM; leakage ∝ v², clock tree ∝ r·v²
    joules per FLOP ∝ v²
    joules per byte ∝ 1 − on_chip + on_chip·v²           the DRAM's part does not follow the SM's voltage

No measurement with a clock column stands behind these numbers. Two published observations lie at the favourable edge
of the ranges: about 1.6 GHz gives the throughput of 2.0 GHz at under 80 % of the energy for most batch sizes on H100
(arXiv 2403.20306; here 80 to 95 % at memory-bound decode), and locking the SM clock saves up to 32 % of decode energy
at little loss on H200 (arXiv 2605.11999; here 16 to 33 % at the best clock). The prior claims less than was published.
Every result that uses a clock below the maximum carries these ranges in its interval.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

SOURCE = "prior; calibration targets arXiv 2403.20306 and arXiv 2605.11999; no clock column in any fitted table"


@dataclass(frozen=True, slots=True)
class ClockPrior:
    """One draw of the clock's effect; the defaults are the middle of each range in `RANGES`."""

    v_min: float = 0.70
    knee: float = 0.50
    share: float = 0.60
    on_chip: float = 0.40
    bandwidth_knee: float = 0.55
    off_core: float = 0.30


# Uniform ranges of each parameter.
RANGES = {
    "v_min": (0.62, 0.80),
    "knee": (0.40, 0.60),
    "share": (0.40, 0.80),
    "on_chip": (0.20, 0.60),
    "bandwidth_knee": (0.45, 0.70),
    "off_core": (0.20, 0.40),
}


@dataclass(frozen=True, slots=True)
class ClockScale:
    """Factors on the quantities of the phase law at one clock."""

    compute: float
    bandwidth: float
    static: float
    byte: float
    flop: float


def draw_clock_prior(rng: np.random.Generator) -> ClockPrior:
    """Return one draw, every parameter uniform in its range and independent of the others."""
    return ClockPrior(**{f.name: float(rng.uniform(*RANGES[f.name])) for f in fields(ClockPrior)})


def clock_scale(ratio: float, prior: ClockPrior) -> ClockScale:
    """Return the factors at `ratio` = clock / maximum clock, in (0, 1]; at 1 every factor is 1.

    Raises:
        ValueError: the ratio is outside (0, 1].
    """
    if not 0.0 < ratio <= 1.0:
        raise ValueError(f"clock ratio is {ratio}; expected a share of the maximum clock in (0, 1]")
    v = prior.v_min + (1.0 - prior.v_min) * max(0.0, ratio - prior.knee) / (1.0 - prior.knee)
    return ClockScale(
        compute=ratio,
        bandwidth=min(1.0, ratio / prior.bandwidth_knee),
        static=prior.off_core + (1.0 - prior.off_core) * v * v * (1.0 - prior.share + prior.share * ratio),
        byte=1.0 - prior.on_chip + prior.on_chip * v * v,
        flop=v * v,
    )
