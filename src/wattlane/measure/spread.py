"""The mean of a few repeats with its Student interval, without scipy.

    half-width = t(1 − α/2; n − 1) · sd / √n

The distribution of t for a whole number of degrees of freedom is a finite sum in θ = atan(t/√ν); its quantile is found
by bisection. Source: Abramowitz and Stegun, 26.7.3 and 26.7.4.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LEVEL = 0.95
Z_POWER = 0.8416212335729143  # normal quantile of 0.8
BISECTIONS = 200
MOST_REPEATS = 100_000


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, 95 % interval and standard deviation of n values; interval and sd are None below two values."""

    n: int
    mean: float
    lo: float | None
    hi: float | None
    sd: float | None

    @property
    def half_width(self) -> float | None:
        """Half of the interval, in the unit of the values."""
        return None if self.lo is None or self.hi is None else (self.hi - self.lo) / 2

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return {"n": self.n, "mean": self.mean, "lo": self.lo, "hi": self.hi, "sd_over_repeats": self.sd}


def spread(values: Sequence[float], level: float = LEVEL) -> Spread | None:
    """Return mean, interval and sd of `values`; None of none."""
    n = len(values)
    if n == 0:
        return None
    mean = math.fsum(values) / n
    if n == 1:
        return Spread(1, mean, None, None, None)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = t_quantile(level, n - 1) * sd / math.sqrt(n)
    return Spread(n, mean, mean - half, mean + half, sd)


def t_within(t: float, df: int) -> float:
    """Return the probability that |T| <= t for T with `df` degrees of freedom."""
    theta = math.atan(t / math.sqrt(df))
    sine, cosine = math.sin(theta), math.cos(theta)
    odd = df % 2
    term = total = cosine if odd else 1.0
    for i in range(3 if odd else 2, df - 1, 2):
        term *= cosine**2 * (i - 1) / i
        total += term
    if not odd:
        return sine * total
    return 2 / math.pi * (theta + (sine * total if df > 1 else 0.0))


@functools.cache
def t_quantile(level: float, df: int) -> float:
    """Return t such that |T| <= t with probability `level`; `df` of at least 1."""
    lo, hi = 0.0, 1.0
    while t_within(hi, df) < level:
        hi *= 2
    for _ in range(BISECTIONS):
        middle = (lo + hi) / 2
        lo, hi = (middle, hi) if t_within(middle, df) < level else (lo, middle)
        if hi - lo <= 1e-13 * hi:
            break
    return (lo + hi) / 2


def repeats_to_show(difference: float, sd: float) -> int | None:
    """Return how many paired repeats would show `difference` at 95 % in four of five attempts, from the sd of pairs.

    None when no number up to 100,000 would.
    """
    if difference == 0 or not math.isfinite(difference):
        return None
    wanted = abs(difference)

    def suffices(n: int) -> bool:
        return (t_quantile(LEVEL, min(n - 1, 1000)) + Z_POWER) * sd <= wanted * math.sqrt(n)

    if not suffices(MOST_REPEATS):
        return None
    lo, hi = 1, MOST_REPEATS
    while hi - lo > 1:
        middle = (lo + hi) // 2
        lo, hi = (lo, middle) if suffices(middle) else (middle, hi)
    return hi
