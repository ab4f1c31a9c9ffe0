"""Energy against accuracy (or runtime): the weight ζ swept from 0 to 1, each point an optimum with its certificate.

Total energy never rises with ζ, and neither does total accuracy (total runtime never falls). With energy E and what is
lost L in units of their hats, plans 1 and 2 optimal at ζ₁ < ζ₂:

    ζ₁·E₁ + (1 − ζ₁)·L₁ ≤ ζ₁·E₂ + (1 − ζ₁)·L₂    and    ζ₂·E₂ + (1 − ζ₂)·L₂ ≤ ζ₂·E₁ + (1 − ζ₂)·L₁

If E₂ > E₁, the second needs L₁ − L₂ ≥ ζ₂/(1 − ζ₂)·(E₂ − E₁), more than the first allows; the like for L.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from wattlane.core.errors import InputError
from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.build import build
from wattlane.plan.assign.problem import Floats
from wattlane.plan.assign.solve import solve
from wattlane.plan.assign.totals import Totals, totals
from wattlane.plan.assign.values import Case

TENTHS = tuple(i / 10 for i in range(11))
WEIGHED = ("energy-accuracy", "energy-runtime")


@dataclass(frozen=True, slots=True)
class Point:
    """The optimum at one weight; `dominated` where another point is at least as good in both and better in one."""

    zeta: float
    objective: float
    gap: float
    totals: Totals
    counts: tuple[int, ...]
    dominated: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "zeta": self.zeta,
            "objective": self.objective,
            "gap": self.gap,
            **self.totals.as_dict(),
            "counts": list(self.counts),
            "dominated": self.dominated,
        }


def frontier(case: Case, ask: Ask, zetas: Sequence[float] = TENTHS, *, limit_s: float = 60.0) -> tuple[Point, ...]:
    """Return one point a weight, in their order; each starts from the prices of the one before.

    Raises:
        InputError: an objective without a weight, or a weight out of range.
        InfeasibleError: no plan keeps all limits.
    """
    if ask.objective not in WEIGHED:
        raise InputError(f"objective is {ask.objective}; expected one with a weight: {', '.join(WEIGHED)}")
    points: list[Point] = []
    prices: Floats | None = None
    for zeta in zetas:
        found = solve(build(case, replace(ask, zeta=zeta)), prices, limit_s=limit_s)
        prices = found.prices
        counts = tuple(int(count) for count in found.x.sum(axis=1))
        points.append(Point(zeta, found.objective, found.gap, totals(case, found.x), counts))
    goods = [_goods(point, ask) for point in points]
    return tuple(
        replace(point, dominated=any(_beats(other, mine) for other in goods))
        for point, mine in zip(points, goods, strict=True)
    )


def _goods(point: Point, ask: Ask) -> tuple[float, float]:
    """What is wanted low: joules, and lost accuracy or seconds."""
    other = -(point.totals.accuracy or 0.0) if ask.objective == "energy-accuracy" else point.totals.mean_runtime_s
    return point.totals.energy_j, other


def _beats(a: tuple[float, float], b: tuple[float, float], noise: float = 1e-9) -> bool:
    margin = [noise * max(1e-12, abs(v)) for v in b]
    no_worse = all(x <= y + m for x, y, m in zip(a, b, margin, strict=True))
    return no_worse and any(x < y - m for x, y, m in zip(a, b, margin, strict=True))
