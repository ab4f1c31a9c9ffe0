"""Shares of the requests as whole counts.

ceiling   max(1, ⌈c·γ·n⌉)      ceilings that sum to 1 never forbid a request
floor     max(1, ⌊c·γ·n⌋)      floors that sum to 1 never ask for more than there are, unless 1 is above γ·n
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from wattlane.plan.assign.ask import Ask

# The released code of Wilkins 2024 asks each model to take a quarter of its share.
PUBLISHED_FLOOR_FACTOR = 0.25
# γ·n is a product of floats: 0.07·100 is 7.000000000000001, and no ceiling of 8
NOISE = 1e-9


def rounded(shares: Sequence[float], requests: int, kind: str, factor: float = 1.0) -> list[int]:
    """Return the count of each share."""
    exact = [factor * share * requests for share in shares]
    if kind == "ceiling":
        return [max(1, math.ceil(value - NOISE * max(1.0, value))) for value in exact]
    return [max(1, math.floor(value + NOISE * max(1.0, value))) for value in exact]


def rounding(ask: Ask, requests: int) -> list[dict[str, float]]:
    """Return share, exact and rounded count of each target, for the report; empty without counted shares."""
    if ask.shares is None or ask.share_kind == "capacity":
        return []
    counts = rounded(ask.shares, requests, ask.share_kind, ask.share_factor)
    return [
        {"share": share, "exact": ask.share_factor * share * requests, "count": count}
        for share, count in zip(ask.shares, counts, strict=True)
    ]
