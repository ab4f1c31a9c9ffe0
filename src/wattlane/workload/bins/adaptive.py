"""The k edges that pad the least: exact minimum of the total ceiling tokens of a column.

Over the distinct lengths v_1 < … < v_n with counts c, cumulated C, the best cost of covering the first j with b bins is

    D_b(j) = min over i < j of D_{b−1}(i) + v_j (C_j − C_i)

For a fixed b the terms are lines in v_j with slope −C_i, which fall with i, and v_j grows with j: a convex hull of
lines answers each j in constant amortised time, so the whole takes k n steps and integers keep it exact.
"""

from __future__ import annotations

import numpy as np

from wattlane.workload.bins.scheme import Scheme, Tokens

INPUT_BINS = 8
OUTPUT_BINS = 7


def edges(lengths: Tokens, count: int) -> Tokens:
    """Return `count` edges (fewer where there are fewer distinct lengths); the last is the longest length."""
    values, counts = np.unique(lengths, return_counts=True)
    if count >= len(values):
        return values
    v = [0, *values.tolist()]
    cumulated = [0, *np.cumsum(counts).tolist()]
    best = [v[j] * cumulated[j] for j in range(len(v))]
    choices: list[list[int]] = []
    for _ in range(count - 1):
        best, chosen = _with_one_more(best, v, cumulated)
        choices.append(chosen)
    j, found = len(v) - 1, []
    for chosen in reversed(choices):
        found.append(v[j])
        j = chosen[j]
    return np.array([v[j], *reversed(found)], dtype=np.int64)


def _with_one_more(best: list[int], v: list[int], cumulated: list[int]) -> tuple[list[int], list[int]]:
    """Return the costs with one more bin for each prefix, and where that bin begins."""
    hull: list[int] = []
    first = 0
    costs, chosen = [0] * len(v), [0] * len(v)
    for j in range(1, len(v)):
        i = j - 1
        while len(hull) - first >= 2 and _is_covered(hull[-2], hull[-1], i, best, cumulated):
            hull.pop()
        hull.append(i)
        while len(hull) - first >= 2 and _at(hull[first + 1], v[j], best, cumulated) <= _at(
            hull[first], v[j], best, cumulated
        ):
            first += 1
        chosen[j] = hull[first]
        costs[j] = _at(hull[first], v[j], best, cumulated) + v[j] * cumulated[j]
    return costs, chosen


def _at(i: int, value: int, best: list[int], cumulated: list[int]) -> int:
    return best[i] - value * cumulated[i]


def _is_covered(a: int, b: int, c: int, best: list[int], cumulated: list[int]) -> bool:
    """Return whether line b is nowhere below both its neighbours a and c."""
    left = (best[c] - best[a]) * (cumulated[b] - cumulated[a])
    return left <= (best[b] - best[a]) * (cumulated[c] - cumulated[a])


SCHEME = Scheme(
    "adaptive",
    "the edges that pad the fewest tokens for a number of bins",
    lambda lengths, count: edges(lengths, count or INPUT_BINS),
    lambda lengths, count: edges(lengths, count or OUTPUT_BINS),
)
