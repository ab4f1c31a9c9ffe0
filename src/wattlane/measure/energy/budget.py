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
from dataclasses import dataclass, field
from statistics import NormalDist, fmean, stdev

from wattlane.core.errors import InputError

LEVEL = 0.95
GAIN_SD = 0.025  # relative; about 5 % is quoted for GPU sensors (arXiv 2312.02741), taken as two standard deviations
# Student's t at 0.975 for 1 to 30 degrees of freedom.
_T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
Z = NormalDist().inv_cdf(0.5 + LEVEL / 2)


@dataclass(frozen=True, slots=True)
class Budget:
    """A value with its parts: `random` and `systematic` are standard deviations, `bounds` half-widths, in its unit.

    Names: tick, edges, gaps, samples, sensor_gain, tokens, repeats, aliasing, lag.
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


def per_token(energy: Budget, tokens: int, tokens_sd: float = 0.0) -> Budget:
    """Return energy per token; an uncertain count (`tokens_sd`, tokens) adds the part "tokens".

    Raises:
        InputError: `tokens` is below 1 or `tokens_sd` below 0.
    """
    if tokens < 1 or tokens_sd < 0:
        raise InputError(f"tokens is {tokens} with sd {tokens_sd}; expected at least 1 token and an sd of at least 0")
    ratio = energy.value / tokens
    return Budget(
        ratio,
        {**_over(energy.random, tokens), "tokens": abs(ratio) * tokens_sd / tokens},
        _over(energy.systematic, tokens),
        _over(energy.bounds, tokens),
    )


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
    t = _T_975[n - 2] if n - 2 < len(_T_975) else Z * (1 + (Z**2 + 1) / (4 * (n - 1)))
    seen = t / Z * stdev(values) / math.sqrt(n)
    within = math.sqrt(fmean(math.hypot(*r.random.values()) ** 2 for r in repeats) / n)
    return Budget(
        fmean(values),
        {"repeats": max(seen, within)},
        _mean([r.systematic for r in repeats]),
        _mean([r.bounds for r in repeats]),
    )


def difference(a: Budget, b: Budget, *, same_card: bool) -> Budget:
    """Return a − b: random parts add in squares; systematic ones subtract on one card, whose gain is one, else too."""
    random = {f"{name}_{k}": sd for k, x in (("a", a), ("b", b)) for name, sd in x.random.items()}
    if same_card:
        names = {*a.systematic, *b.systematic}
        systematic = {name: abs(a.systematic.get(name, 0.0) - b.systematic.get(name, 0.0)) for name in sorted(names)}
    else:
        systematic = {f"{name}_{k}": sd for k, x in (("a", a), ("b", b)) for name, sd in x.systematic.items()}
    bounds = {f"{name}_{k}": half for k, x in (("a", a), ("b", b)) for name, half in x.bounds.items()}
    return Budget(a.value - b.value, random, systematic, bounds)


def _over(parts: Mapping[str, float], tokens: int) -> dict[str, float]:
    return {name: size / tokens for name, size in parts.items()}


def _mean(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = sorted({name for part in parts for name in part})
    return {name: fmean(part.get(name, 0.0) for part in parts) for name in names}
