"""What a difference in energy per request is due to, and ratios that say what they compare.

A cell is (arrival rate, arrival shape, engine). Between two cells the effect of a factor is its mean marginal
difference over the 3! orders in which the factors may be changed (Shapley 1953), so that the three effects add up to
the whole difference. Where the cells differ in one factor, its effect is the difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import NamedTuple

import numpy as np

from wattlane.core.types import Estimate

LEVEL = 0.95


class Cell(NamedTuple):
    """Where a replay stands in the grid: mean rate (requests/s), name of the shape, name of the engine limits."""

    rate_rps: float
    shape: str
    engine: str

    def __str__(self) -> str:
        return f"{self.shape} at {self.rate_rps:g} requests/s, {self.engine}"


FACTORS = Cell._fields


def effects(value: Mapping[Cell, float], base: Cell, other: Cell) -> tuple[float, float, float]:
    """Return the effects of rate, shape and engine; their sum is `value[other] - value[base]` to rounding.

    `value` holds the cells with each factor from one of the two.
    """
    total = [0.0, 0.0, 0.0]
    orders = list(permutations(range(3)))
    for order in orders:
        at = base
        before = value[at]
        for factor in order:
            at = Cell(*(other[i] if i == factor else at[i] for i in range(3)))  # type: ignore[arg-type]
            after = value[at]
            total[factor] += after - before
            before = after
    return (total[0] / len(orders), total[1] / len(orders), total[2] / len(orders))


def interval(values: Sequence[float], unit: str) -> Estimate:
    """Return the mean with Student's 95 % interval over seeds; one seed gives an infinite interval."""
    from scipy.stats import t

    mean = float(np.mean(values))
    if len(values) < 2:
        return Estimate(mean, -math.inf, math.inf, unit, level=LEVEL)
    half = float(t.ppf(0.5 + LEVEL / 2, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))
    return Estimate(mean, mean - half, mean + half, unit, level=LEVEL)


@dataclass(frozen=True, slots=True)
class Configuration:
    """What was served, and joules (or Wh) per request: ratios compare like with like in dtype, kernels, boundary."""

    name: str
    dtype: str
    kernels: str
    boundary: str
    per_request: float

    def __str__(self) -> str:
        return f"{self.name} ({self.dtype}, {self.kernels}, {self.boundary})"


LIKE = ("dtype", "kernels", "boundary")


def differing(a: Configuration, b: Configuration) -> tuple[str, ...]:
    """Return in which of dtype, kernels and boundary two configurations differ."""
    return tuple(name for name in LIKE if getattr(a, name) != getattr(b, name))


def ratio_words(over: Configuration, under: Configuration, others: Sequence[Configuration] = ()) -> str:
    """Return `over` ÷ `under` with both named, and beside it the largest like-for-like ratio to `under` in `others`."""
    said = f"{over.per_request / under.per_request:.1f}x: {over} over {under}"
    wrong = differing(over, under)
    if not wrong:
        return f"{said}; like for like"
    like = [c for c in others if c != under and not differing(c, under)]
    beside = "absent"
    if like:
        best = max(like, key=lambda c: c.per_request)
        beside = f"{best.per_request / under.per_request:.1f}x, {best} over {under.name}"
    return f"{said}; differs in {', '.join(wrong)}; like for like: {beside}"
