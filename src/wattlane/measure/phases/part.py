"""Energy of one phase with its standard error, and the two parts of a run.

interval = mean ± sqrt((t(level, dof) · se)² + (z · gain)²)
sum or difference of independent parts: se² = Σ se_i²,  dof = se⁴ / Σ (se_i⁴ / dof_i)   (Welch–Satterthwaite)

The gain of the sensor is one in all windows of a card: repeats do not reduce it, and in a difference it subtracts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wattlane.core.errors import InputError
from wattlane.core.types import Origin
from wattlane.measure.phases.tails import t_quantile

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Part:
    """Mean joules and seconds of a phase in one run, the standard error of the joules, and the tokens it covers.

    `gain_j` is the standard deviation that the sensor's gain alone gives; it is not in `se_j`.
    """

    energy_j: float
    se_j: float
    dof: float
    duration_s: float
    tokens: int
    gain_j: float = 0.0

    def interval_j(self, level: float = LEVEL) -> tuple[float, float]:
        """Return the interval of the mean energy, gain included; without a known error it is the mean itself twice."""
        random_j = t_quantile(self.dof, level) * self.se_j if self.se_j > 0 else 0.0
        half_j = math.hypot(random_j, t_quantile(math.inf, level) * self.gain_j)
        return self.energy_j - half_j, self.energy_j + half_j

    def __str__(self) -> str:
        lo_j, hi_j = self.interval_j()
        return f"{self.energy_j:.4g} J [{lo_j:.4g}, {hi_j:.4g}] for {self.tokens} tokens in {self.duration_s:.3f} s"


@dataclass(frozen=True, slots=True)
class Split:
    """A run in two phases by one method. `notes` say what the figures cover and what is wrong with them."""

    prefill: Part
    decode: Part
    total: Part
    method: str
    notes: tuple[str, ...]
    origin: Origin = Origin.MEASURED

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return {
            "method": self.method,
            "status": self.origin.value,
            **{name: _plain(getattr(self, name)) for name in ("prefill", "decode", "total")},
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Repeats:
    """Joules and seconds of repeats of one run, and the standard deviations that the meter states, where it does.

    `meter_j` is that of each repeat alone, independent between repeats; `gain_j` that of the sensor's gain, one in all.

    Raises:
        InputError: columns of different lengths, no repeat, or one repeat without an error of the meter.
    """

    energy_j: Sequence[float]
    duration_s: Sequence[float]
    meter_j: Sequence[float] = ()
    gain_j: Sequence[float] = ()

    def __post_init__(self) -> None:
        problems, n = [], len(self.energy_j)
        if n == 0:
            problems.append("found no repeats; expected at least 1")
        stated = len(self.meter_j), len(self.gain_j)
        if len(self.duration_s) != n or any(count not in (0, n) for count in stated):
            problems.append(
                f"found {n} energies, {len(self.duration_s)} durations, {stated[0]} meter errors and {stated[1]} of "
                "its gain; expected as many of each"
            )
        if n == 1 and not any(self.meter_j):
            problems.append("one repeat without an error of the meter has no interval; repeat the run")
        if not np.isfinite([*self.energy_j, *self.duration_s, *self.meter_j, *self.gain_j]).all():
            problems.append("found a value that is not finite; expected joules and seconds")
        if problems:
            raise InputError.gathered("repeats", problems)

    def part(self, tokens: int) -> Part:
        """Return the mean with its standard error: the spread between repeats, which holds the meter's own error.

        It is not taken below the meter's own, since repeats may agree by chance.
        """
        n = len(self.energy_j)
        spread_j = math.sqrt(float(np.var(self.energy_j, ddof=1)) / n) if n > 1 else 0.0
        meter_j = math.hypot(*self.meter_j) / n
        is_spread = n > 1 and t_quantile(n - 1, LEVEL) * spread_j > t_quantile(math.inf, LEVEL) * meter_j
        se_j, dof = (spread_j, n - 1.0) if is_spread else (meter_j, math.inf)
        gain_j = math.fsum(self.gain_j) / n
        return Part(float(np.mean(self.energy_j)), se_j, dof, float(np.mean(self.duration_s)), tokens, gain_j)


def minus(whole: Part, piece: Part, tokens: int) -> Part:
    """Return whole − piece of independent runs on one card, both errors propagated."""
    se_j = math.hypot(whole.se_j, piece.se_j)
    return Part(
        whole.energy_j - piece.energy_j,
        se_j,
        _dof(se_j, whole, piece),
        whole.duration_s - piece.duration_s,
        tokens,
        abs(whole.gain_j - piece.gain_j),
    )


def _dof(se: float, *parts: Part) -> float:
    below = sum(part.se_j**4 / part.dof for part in parts if part.se_j > 0)
    return se**4 / below if below > 0 else math.inf


def welch(first: Part, second: Part) -> tuple[float, float]:
    """Return (standard error, degrees of freedom) of the difference of two independent parts."""
    se_j = math.hypot(first.se_j, second.se_j)
    return se_j, _dof(se_j, first, second)


def _plain(part: Part) -> dict[str, Any]:
    lo_j, hi_j = part.interval_j()
    return {
        "energy_j": part.energy_j,
        "energy_j_lo": lo_j,
        "energy_j_hi": hi_j,
        "duration_s": part.duration_s,
        "tokens": part.tokens,
    }
