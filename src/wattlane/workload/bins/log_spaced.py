"""Edges at equal ratios from the shortest to the longest length, rounded up to whole tokens; nothing is excluded.

Rounding can make neighbours coincide; then there are fewer bins than asked for.
"""

from __future__ import annotations

import numpy as np

from wattlane.workload.bins.scheme import Scheme, Tokens

INPUT_BINS = 8
OUTPUT_BINS = 7


def edges(lengths: Tokens, count: int) -> Tokens:
    """Return at most `count` edges; the last is the longest length."""
    shortest, longest = int(lengths.min()), int(lengths.max())
    ratio = (longest / shortest) ** (np.arange(1, count + 1) / count)
    found = np.ceil(shortest * ratio - 1e-9).astype(np.int64)
    found[-1] = longest
    return np.unique(np.minimum(found, longest))


SCHEME = Scheme(
    "log-spaced",
    "equal ratios from the shortest to the longest length",
    lambda lengths, count: edges(lengths, count or INPUT_BINS),
    lambda lengths, count: edges(lengths, count or OUTPUT_BINS),
)
