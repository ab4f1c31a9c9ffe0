"""An interval on every energy, made of named parts, the systematic apart from the random.

    half = z · sqrt(Σ random² + Σ systematic²) + Σ bounds          z = 1.96 at a level of 95 %

Parts are standard deviations; random and systematic ones add in squares because they are independent. A bound is a
limit without a distribution (a load that hides from the sensor): it adds in full. Repeats divide the random parts by
√n and leave the systematic and the bounds as they are; their spread then replaces the random parts of one window.
Source: GUM (JCGM 100:2008), section 5 and 4.3 (type A: repeats; type B: a uniform of half-width a has sd a / √3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist, fmean, stdev

from wattlane.core.errors import InputError
from wattlane.measure.spread import LEVEL, t_quantile

GAIN_SD = 0.025  # relative; about 5 % is quoted for GPU sensors (arXiv 2312.02741), taken as two standard deviations
Z = NormalDist().inv_cdf(0.5 + LEVEL / 2)


@dataclass(frozen=True, slots=True)
class Budget:
    """A value with its parts: `random` and `systematic` are standard deviations, `bounds` half-widths, in its unit.

    Names: tick, edges, samples, tokens, repeats, cpu_tick; sensor_gain; gaps, aliasing, aliasing_edges, lag,
    averaging, overlap, idle.
    """

    value: float
    random: Mapping[str, float] = field(default_factory=dict)
    systematic: Mapping[str, float] = field(default_factory=dict)
    bounds: Mapping[str, float] = field(default_factory=dict)

    @property
    def half(self) -> float:
        """Half-width of the 95 % interval."""
        return Z * math.hypot(*self.random.values(), *self.systematic.values()) + sum(self.bounds.values())

    @property
    def random_half(self) -> float:
        """Half-width from the random parts alone: what comparisons on one card are limited by."""
        return Z * math.hypot(*self.random.values())

    @property
    def own_half(self) -> float:
        """Half-width without the systematic parts, which all windows of a card share: what their differences have."""
        return self.random_half + sum(self.bounds.values())

    @property
    def lo(self) -> float:
        """Lower end of the interval; below 0 only where the value's error reaches there."""
        return self.value - self.half

    @property
    def hi(self) -> float:
        """Upper end of the interval."""
        return self.value + self.half

    def parts(self, unit: str = "j") -> dict[str, float]:
        """Return the half-width that each part alone would give, named with `unit`."""
        named = {name: Z * sd for name, sd in (*self.random.items(), *self.systematic.items())}
        return {f"{name}_{unit}": half for name, half in (*named.items(), *self.bounds.items())}

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {self.half:.2g}"

    def __format__(self, how: str) -> str:
        return f"{self.value:{how}} [{self.lo:{how}}, {self.hi:{how}}]" if how else str(self)


def scaled(energy: Budget, factor: float) -> Budget:
    """Return the budget of a share of an energy, or of its power: value and parts times `factor` (at least 0)."""
    return Budget(
        energy.value * factor,
        _times(energy.random, factor),
        _times(energy.systematic, factor),
        _times(energy.bounds, factor),
    )


def total(parts: Sequence[Budget]) -> Budget:
    """Return the sum over devices: random parts add in squares, systematic ones and bounds in full (one gain)."""
    names = sorted({name for part in parts for name in part.random})
    return Budget(
        math.fsum(part.value for part in parts),
        {name: math.hypot(*(part.random.get(name, 0.0) for part in parts)) for name in names},
        _sums([part.systematic for part in parts]),
        _sums([part.bounds for part in parts]),
    )


def per_token(energy: Budget, tokens: int, tokens_sd: float = 0.0) -> Budget:
    """Return energy per token, or per another thing counted; an uncertain count adds the part "tokens".

    Raises:
        InputError: `tokens` is below 1 or `tokens_sd` below 0.
    """
    if tokens < 1 or tokens_sd < 0:
        raise InputError(f"tokens is {tokens} with sd {tokens_sd}; expected at least 1 token and an sd of at least 0")
    each = scaled(energy, 1 / tokens)
    if tokens_sd == 0:
        return each
    return replace(each, random={**each.random, "tokens": abs(each.value) * tokens_sd / tokens})


def over_repeats(repeats: Sequence[Budget]) -> Budget:
    """Return the mean of repeats of one thing on one card.

    The part "repeats" is t · s / √n of the values, as a standard deviation, and holds the random parts of each window.
    It is not taken below their own mean over √n, since two repeats can agree by chance.

    Raises:
        InputError: there are fewer than 2.
    """
    n = len(repeats)
    if n < 2:
        raise InputError(f"found {n} repeats; expected at least 2 for a spread")
    values = [repeat.value for repeat in repeats]
    seen = t_quantile(LEVEL, n - 1) / Z * stdev(values) / math.sqrt(n)
    within = math.sqrt(fmean(math.hypot(*r.random.values()) ** 2 for r in repeats) / n)
    return Budget(
        fmean(values),
        {"repeats": max(seen, within)},
        _times(_sums([r.systematic for r in repeats]), 1 / n),
        _times(_sums([r.bounds for r in repeats]), 1 / n),
    )


def _times(parts: Mapping[str, float], factor: float) -> dict[str, float]:
    return {name: size * factor for name, size in parts.items()}


def _sums(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = sorted({name for part in parts for name in part})
    return {name: math.fsum(part.get(name, 0.0) for part in parts) for name in names}
