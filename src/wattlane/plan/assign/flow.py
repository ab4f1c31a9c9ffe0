"""An integral optimum under counting rows: ties at the dual's prices are split by counts.

At good prices each kind's cheapest target is nearly the plan; only the numbers by target are a little off. Requests
are moved from targets with too many to targets with too few along shortest paths in a graph of K + 1 nodes: the
targets, and an end node that takes least … most requests from each. Edge j → k costs what the cheapest request on j
pays for going to k. Successive shortest paths keep the plan optimal for the counts it has (Ahuja, Magnanti and Orlin
1993, chapter 9), so when the counts fit, the plan is optimal and integral, and the distances give exact prices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.plan.assign.lagrangian import nearest, reduced, regret
from wattlane.plan.assign.problem import Counts, Floats, Problem

NEAR = 512  # kinds looked at first: those whose two cheapest targets differ least
ZERO = 1e-12  # of the largest price: a price below it is none


@dataclass(frozen=True, eq=False, slots=True)
class Rounded:
    """An integral plan x (K, m) and what one more request on each target is worth, (K,); ≥ 0: it is held back."""

    x: Counts
    worth: Floats


def round_counts(problem: Problem, prices: Floats) -> Rounded | None:
    """Return an optimal integral plan of a problem with counting rows only; None if the counts cannot be met."""
    toll = _toll(problem, prices)
    choice, margin = regret(problem, prices)
    near = NEAR
    while True:
        which = nearest(margin, near)
        limit = float(margin[which].max()) if len(which) < len(margin) else np.inf
        graph = _Graph(problem, prices, toll, choice, which)
        if graph.settle(limit):
            x = np.zeros(problem.cost.shape, np.int64)
            x[choice, np.arange(len(choice))] = problem.requests
            x[:, which] = graph.x
            return Rounded(x, graph.worth())
        if len(which) == len(margin):
            return None
        near *= 8


def _toll(problem: Problem, prices: Floats) -> Floats:
    toll = np.zeros(len(problem.targets))
    for row, price in zip(problem.rows, prices, strict=True):
        k = row.counted_target
        assert k is not None
        toll[k] += price
    toll[np.abs(toll) <= ZERO * np.abs(toll).max(initial=0.0)] = 0.0
    return toll


class _Graph:
    """The residual graph over the near kinds; the others stay at their choice."""

    def __init__(
        self, problem: Problem, prices: Floats, toll: Floats, choice: NDArray[np.int16], which: NDArray[np.intp]
    ) -> None:
        self.targets, self.which, self.toll = len(problem.targets), which, toll
        part = problem.take(which)
        priced = np.array([reduced(part, prices, k) for k in range(self.targets)])
        self.cost = priced
        self.x = np.zeros(priced.shape, np.int64)
        self.x[choice[which], np.arange(len(which))] = part.requests
        have = np.bincount(choice, weights=problem.requests, minlength=self.targets).astype(np.int64)
        self.kept = have - self.x.sum(axis=1)
        least, most = problem.bounds_on_counts()
        self.least = np.ceil(least).astype(np.int64)
        self.most = np.floor(np.minimum(most, float(problem.requests.sum()))).astype(np.int64)
        self.total = int(problem.requests.sum())
        # a priced bound is met exactly; without a price the count is free between the bounds
        free = np.clip(have, self.least, self.most)
        self.taken = np.where(toll > 0, self.most, np.where(toll < 0, self.least, free))
        self.excess = np.append(have - self.taken, self.taken.sum() - self.total)

    def settle(self, limit: float) -> bool:
        """Move requests until every count fits; False if a needed path is closed or reaches past the near kinds."""
        while self.excess.any():
            path = self._path(limit)
            if path is None:
                return False
            self._push(path)
        return True

    def edges(self) -> tuple[Floats, NDArray[np.intp]]:
        """Return the cost of every edge (K+1, K+1), infinite where closed, and the near kind that gives it."""
        n = self.targets
        cost, kind = np.full((n + 1, n + 1), np.inf), np.full((n + 1, n + 1), -1, np.intp)
        for j in range(n):
            on = np.flatnonzero(self.x[j] > 0)
            if len(on):
                extra = self.cost[:, on] - self.cost[j, on]
                at = extra.argmin(axis=1)
                cost[j, :n], kind[j, :n] = extra[np.arange(n), at], on[at]
            cost[j, j] = np.inf
            if self.taken[j] < self.most[j]:
                cost[j, n] = -self.toll[j]
            if self.taken[j] > self.least[j]:
                cost[n, j] = self.toll[j]
        return cost, kind

    def _path(self, limit: float) -> list[tuple[int, int, int]] | None:
        """Return the shortest path from too many to too few as (from, to, kind), or None."""
        cost, kind = self.edges()
        start = np.where(self.excess > 0, 0.0, np.inf)
        distance, before = _bellman_ford(cost, start)
        ends = np.flatnonzero((self.excess < 0) & np.isfinite(distance))
        if len(ends) == 0:
            return None
        node = int(ends[distance[ends].argmin()])
        path: list[tuple[int, int, int]] = []
        while before[node] >= 0 and len(path) <= self.targets:  # a path visits no node twice
            previous = int(before[node])
            path.append((previous, node, int(kind[previous, node])))
            node = previous
        # a kind that was not looked at might be cheaper than an edge that costs more than the limit
        if any(k >= 0 and cost[a, b] > limit for a, b, k in path):
            return None
        return path[::-1]

    def _push(self, path: list[tuple[int, int, int]]) -> None:
        amount = min(self.excess[path[0][0]], -self.excess[path[-1][1]])
        for a, b, kind in path:
            if kind >= 0:
                amount = min(amount, self.x[a, kind])
            elif b == self.targets:
                amount = min(amount, self.most[a] - self.taken[a])
            else:
                amount = min(amount, self.taken[b] - self.least[b])
        for a, b, kind in path:
            if kind >= 0:
                self.x[a, kind] -= amount
                self.x[b, kind] += amount
            elif b == self.targets:
                self.taken[a] += amount
            else:
                self.taken[b] -= amount
        self.excess[path[0][0]] -= amount
        self.excess[path[-1][1]] += amount

    def worth(self) -> Floats:
        """Return exact prices (K,): with them no residual edge is negative."""
        distance, _ = _bellman_ford(self.edges()[0], np.zeros(self.targets + 1))
        prices: Floats = self.toll - distance[:-1] + distance[-1]
        # where the bounds leave no freedom all prices may shift together; the least shift says what one change is worth
        if self.most.sum() == self.total and prices.min() > 0:
            prices = prices - prices.min()
        elif self.least.sum() == self.total and prices.max() < 0:
            prices = prices - prices.max()
        return prices


def _bellman_ford(cost: Floats, start: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """Return shortest distances from the nodes with a finite start, and the node before each (−1 at a start)."""
    distance, before = start.copy(), np.full(len(start), -1, np.intp)
    # rounding must not make a cycle look shorter than nothing
    noise = 1e-13 * np.abs(cost[np.isfinite(cost)]).max(initial=0.0)
    for _ in range(len(start)):
        through = distance[:, None] + cost
        at = through.argmin(axis=0)
        shorter = through[at, np.arange(len(start))] < distance - noise
        if not shorter.any():
            break
        distance = np.where(shorter, through[at, np.arange(len(start))], distance)
        before = np.where(shorter, at, before)
    return distance, before
