"""Prices that maximise the dual of a large assignment, found on few requests and proved on all.

1. A sample of the kinds gives prices that are nearly right.
2. At these prices most kinds have one target far cheaper than the next. They are held there; the dual of the others
   alone, D_S ≥ D, is maximised.
3. D is evaluated once over all kinds at the new prices. Where D = D_S no price does better, because D_S bounds D from
   above everywhere. Otherwise the kinds that changed their target join the others, and 2 is repeated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.plan.assign.cuts import Maximum, maximise
from wattlane.plan.assign.elastic import slack
from wattlane.plan.assign.lagrangian import Point, bounds, evaluate, loads, nearest, regret
from wattlane.plan.assign.problem import Floats, Problem, weighted

SAMPLE = 4096
CONTESTED = 4096
LOOSE = 1e-5
TOLERANCE = 1e-10
BOX = 10.0
WIDER = 30.0
FEW_WIDENINGS = 1
MANY_WIDENINGS = 6
MOST_ROUNDS = 12


@dataclass(frozen=True, slots=True)
class Scale:
    """Units in which the dual is of order 1: `change`, the largest total change of cost, and the `size` of each row."""

    change: float
    size: Floats

    @property
    def prices(self) -> Floats:
        """One unit of each scaled price."""
        return self.change / self.size


@dataclass(frozen=True, eq=False, slots=True)
class Dual:
    """Prices (R,), the bound D there, and whether no price does better up to `shortfall` of the cost scale.

    `unbounded` says that D still rose at the edge of the widest box: no plan keeps all rows.
    """

    prices: Floats
    value: float
    shortfall: float
    unbounded: bool
    scale: Scale
    rounds: int


def scale_of(problem: Problem) -> Scale:
    """Return units for costs (from a sample of the kinds) and rows; 1 where the problem itself has none."""
    some = slice(None, None, max(1, len(problem.requests) // SAMPLE))
    cost, requests = problem.cost[:, some], problem.requests[some]
    weight = float(problem.requests.sum()) / float(requests.sum())
    high = np.where(np.isfinite(cost), cost, -np.inf).max(axis=0)
    change = weight * weighted(high - cost.min(axis=0), requests)
    size = np.array([_size(problem, r) for r in range(len(problem.rows))])
    return Scale(change if change > 0 else 1.0, size)


def _size(problem: Problem, r: int) -> float:
    row = problem.rows[r]
    total = float(problem.requests.sum())
    parts = [
        weighted(np.abs(v), problem.requests) if isinstance(v, np.ndarray) else abs(v) * total
        for v in row.columns.values()
    ]
    return max([*parts, 0.0]) or 1.0


def solve_dual(problem: Problem, start: Floats | None = None) -> Dual:
    """Return certified prices; `start` are prices of a similar problem, which save steps."""
    scale = scale_of(problem)
    m = len(problem.requests)
    prices = np.zeros(len(problem.rows)) if start is None else start
    if len(problem.rows) == 0:
        return Dual(prices, evaluate(problem, prices).value, 0.0, False, scale, 0)
    if m > 4 * SAMPLE:
        prices = _on_sample(problem, scale, start)
    found = _refined(problem, scale, prices, FEW_WIDENINGS)
    if found.unbounded and not slack(problem).any():
        return _refined(problem, scale, found.prices, MANY_WIDENINGS)
    return found


def _on_sample(problem: Problem, scale: Scale, start: Floats | None) -> Floats:
    step = len(problem.requests) // SAMPLE
    part = problem.take(np.arange(step // 2, len(problem.requests), step))
    weight = problem.requests.sum() / part.requests.sum()
    restricted = _Restricted(part, float(weight), 0.0, np.zeros(len(problem.rows)))
    known = None if start is None else start / scale.prices
    found, _ = _boxed(restricted, scale, known, LOOSE, FEW_WIDENINGS)
    return found.prices * scale.prices


def _refined(problem: Problem, scale: Scale, prices: Floats, widenings: int) -> Dual:
    """Alternate between the contested kinds and all kinds until they agree."""
    choice, margin = regret(problem, prices)
    contested = np.zeros(len(margin), bool)
    contested[nearest(margin, max(CONTESTED, len(margin) // 32))] = True
    best_value, best_prices, upper = -np.inf, prices, np.inf
    done, rising = 0, False
    while done < MOST_ROUNDS:
        done += 1
        part = _part(problem, contested, choice)
        maximum, rising = _boxed(part, scale, prices / scale.prices, TOLERANCE, widenings)
        prices = maximum.prices * scale.prices
        now = evaluate(problem, prices)
        if now.value > best_value:
            best_value, best_prices = now.value, prices
        upper = min(upper, part.base + maximum.upper * scale.change)
        moved = (now.choice != choice) & ~contested
        if upper - best_value <= TOLERANCE * scale.change * 10 or not moved.any():
            break
        contested |= moved
    return Dual(best_prices, best_value, (upper - best_value) / scale.change, rising, scale, done)


def _part(problem: Problem, contested: NDArray[np.bool_], choice: NDArray[np.int16]) -> _Restricted:
    """Return the dual of the contested kinds, the others held at their choice."""
    held = np.where(contested, 0, problem.requests)
    held_problem = Problem(problem.cost, held, problem.rows, problem.targets)
    value = weighted(problem.cost[choice, np.arange(len(choice))], held)
    return _Restricted(problem.take(np.flatnonzero(contested)), 1.0, value, loads(held_problem, choice))


class _Restricted:
    """The scaled dual of some kinds; the others are held at a cost and a load."""

    def __init__(self, problem: Problem, weight: float, held_cost: float, held_loads: Floats) -> None:
        self.problem, self.weight = problem, weight
        self.held_cost, self.held_loads = held_cost, held_loads
        # cost counts from the cheapest target of each kind, so that small differences keep their digits
        low = problem.cost.min(axis=0)
        self.base = held_cost + weight * weighted(low, problem.requests)
        self.above = Problem(problem.cost - low, problem.requests, problem.rows, problem.targets)
        self.right = bounds(problem)

    def at(self, scaled: Floats, scale: Scale) -> Point:
        prices = scaled * scale.prices
        point = evaluate(self.above, prices)
        value = point.value + float(prices @ self.right)
        left = point.slope + self.right
        slope = self.weight * left + self.held_loads - self.right
        total = self.weight * value + float(prices @ (self.held_loads - self.right))
        return Point(total / scale.change, slope / scale.size, point.choice)


def _boxed(
    part: _Restricted, scale: Scale, start: Floats | None, tolerance: float, widenings: int
) -> tuple[Maximum, bool]:
    """Return the maximum, and whether it still rose at the edge of the last box."""
    signs = np.array([row.sign for row in part.problem.rows])
    width = BOX if start is None else max(BOX, 4.0 * float(np.abs(start).max(initial=0.0)))
    at = np.zeros(len(signs)) if start is None else start
    before = -np.inf
    for _ in range(widenings + 1):
        low, high = np.where(signs > 0, 0.0, -width), np.where(signs > 0, width, 0.0)
        found = maximise(lambda scaled: part.at(scaled, scale), at, low, high, tolerance=tolerance)
        # prices that may shift together reach the edge without a gain
        if not found.at_edge or found.value - before <= 10 * tolerance * max(1.0, abs(found.value)):
            return found, False
        before, at, width = found.value, found.prices, width * WIDER
    return found, True
