"""A first plan: bins in their order, each with starts from the bin before counted and what follows at its prices.

What is running at the end of a bin is worth the price of the links into the next one, so that an instance that will be
needed again is not stopped for one quiet bin.
"""

from __future__ import annotations

import numpy as np

from wattlane.plan.configure import bins
from wattlane.plan.configure.bins import Blocks
from wattlane.plan.configure.bound import Prices
from wattlane.plan.configure.problem import Floats, Ints, Problem
from wattlane.plan.pool import workers

CANDIDATES = 4  # modes of each pool a bin's program considers beside those in use there and next door
PARTS = 8  # fixed, so that the plan does not depend on the number of cores
NODES = 20
LAST_NODES = 100_000  # for a bin no plan was found for: every mode, and as long as it takes


def candidates(problem: Problem, priced: Floats, t: int, used: Ints | Floats, most: int = CANDIDATES) -> Ints:
    """Return the modes a bin's program considers: the cheapest per request of each pool, and what runs around it."""
    m, chosen = problem.modes, set(np.flatnonzero((used[max(t - 1, 0) : t + 2] > 1e-9).any(axis=0)).tolist())
    score = priced[t] / m.rate_per_s
    for p in range(problem.demand_per_s.shape[1]):
        rows = np.flatnonzero(m.pool == p)
        best = rows[np.argsort(score[rows], kind="stable")[:most]]
        # the small ones among the good: what is left of a demand needs no large instance
        good = rows[score[rows] <= 1.15 * score[best[0]]] if len(best) else best
        chosen.update(best.tolist())
        chosen.update(good[np.argsort(m.rate_per_s[good], kind="stable")[:2]].tolist())
    return np.array(sorted(chosen), dtype=np.int64)


def plan(
    problem: Problem, blocks: Blocks, prices: Prices, priced: Floats, fractions: Floats, margin: float
) -> Ints | int:
    """Return instances (T, M); the first bin that could not be served where there is one.

    `fractions` (T, M) is the plan of the relaxation, `priced` the cost of a mode at its prices. The horizon is cut into
    `PARTS` that start from what the relaxation runs before them; a later sweep mends the seams.
    """

    def of_part(which: Ints) -> Ints | int:
        held = np.concatenate([problem.running, problem.used_before]).astype(float)
        before = blocks.links @ fractions[which[0] - 1] if which[0] else held
        out = np.zeros((len(which), len(problem.modes)), np.int64)
        for i, t in enumerate(which):
            credit = np.zeros(len(before))
            if t + 1 < problem.bins:
                credit = np.concatenate([prices.start[t + 1], prices.wake[t + 1]])
            near = np.union1d(candidates(problem, priced, t, fractions), np.flatnonzero(out[max(i - 1, 0)]))
            found = _bin(problem, blocks, t, before, near, credit, margin)
            if found is None:
                return int(t)
            out[i], before = found, blocks.links @ found
        return out

    with workers() as pool:
        parts = list(pool.map(of_part, np.array_split(np.arange(problem.bins), min(PARTS, problem.bins))))
    missing = [part for part in parts if isinstance(part, int)]
    return min(missing) if missing else np.vstack(parts)


def _bin(
    problem: Problem, blocks: Blocks, t: int, before: Floats, near: Ints, credit: Floats, margin: float
) -> Ints | None:
    for rows, nodes in ((near, NODES), (np.arange(len(problem.modes)), LAST_NODES)):
        found = bins.between(problem, blocks, t, before, None, rows, credit=credit, margin=margin, nodes=nodes)
        if found is not None:
            return found
    return None
