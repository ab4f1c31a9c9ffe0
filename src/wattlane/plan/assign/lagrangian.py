"""The dual function of the assignment: rows are priced, each request then takes its cheapest target.

    D(λ) = Σ_i requests[i]·min_k (cost[k, i] + Σ_r λ_r·coefficient_r[k, i]) − Σ_r λ_r·bound_r

λ_r ≥ 0 for a ≤ row, λ_r ≤ 0 for a ≥ row. For such λ, D(λ) is a lower bound on every plan (weak duality), whatever way λ
was found; D is concave and piecewise linear, and load(λ) − bound is a supergradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.plan.assign.problem import Floats, Problem, weighted

Choice = NDArray[np.int16]


@dataclass(frozen=True, eq=False, slots=True)
class Point:
    """D at some prices: `value`, the supergradient `slope` (R,), and the `choice` (m,) of each kind."""

    value: float
    slope: Floats
    choice: Choice


def reduced(problem: Problem, prices: Floats, k: int) -> Floats:
    """Return the cost of target k with all rows priced, shape (m,)."""
    flat = 0.0
    priced: Floats = problem.cost[k]
    for row, price in zip(problem.rows, prices, strict=True):
        coefficient = row.columns.get(k)
        if coefficient is None or price == 0.0:
            continue
        if isinstance(coefficient, np.ndarray):
            priced = priced + price * coefficient
        else:
            flat += price * coefficient
    return priced + flat if flat else priced


def cheapest(problem: Problem, prices: Floats) -> tuple[Choice, Floats]:
    """Return the target of least priced cost of each kind and that cost; the first of equals."""
    best = reduced(problem, prices, 0)
    choice = np.zeros(best.size, np.int16)
    for k in range(1, len(problem.targets)):
        candidate = reduced(problem, prices, k)
        choice[candidate < best] = k
        best = np.minimum(best, candidate)
    return choice, best


def regret(problem: Problem, prices: Floats) -> tuple[Choice, Floats]:
    """Return the cheapest target of each kind, and how much the second cheapest costs more (infinite if none)."""
    best = reduced(problem, prices, 0)
    second = np.full(best.size, np.inf)
    choice = np.zeros(best.size, np.int16)
    for k in range(1, len(problem.targets)):
        candidate = reduced(problem, prices, k)
        second = np.minimum(second, np.maximum(best, candidate))
        choice[candidate < best] = k
        best = np.minimum(best, candidate)
    return choice, second - best


def loads(problem: Problem, choice: Choice) -> Floats:
    """Return the left side of every row when each kind goes wholly to its choice."""
    counts = np.bincount(choice, weights=problem.requests, minlength=len(problem.targets))
    out = np.zeros(len(problem.rows))
    for r, row in enumerate(problem.rows):
        for k, coefficient in row.columns.items():
            if isinstance(coefficient, np.ndarray):
                mine = choice == k
                out[r] += weighted(coefficient[mine], problem.requests[mine])
            else:
                out[r] += coefficient * counts[k]
    return out


def nearest(margin: Floats, count: int) -> NDArray[np.intp]:
    """Return the kinds of least margin: at least `count` of them for short arrays, about as many for long ones."""
    if count >= len(margin):
        return np.arange(len(margin))
    sample = margin[:: max(1, len(margin) // 16_384)]
    rank = min(len(sample) - 1, -(-count * len(sample) // len(margin)))
    return np.flatnonzero(margin <= np.partition(sample, rank)[rank])


def bounds(problem: Problem) -> Floats:
    """Return the right sides, shape (R,)."""
    return np.array([row.bound for row in problem.rows])


def evaluate(problem: Problem, prices: Floats) -> Point:
    """Return D, a supergradient and the choice at `prices`, shape (R,)."""
    choice, best = cheapest(problem, prices)
    right = bounds(problem)
    return Point(weighted(best, problem.requests) - float(prices @ right), loads(problem, choice) - right, choice)
