"""What a meter's own error does to the mean difference and to the ratio of paired trials.

Of each energy E the interval has a random part, another one in every window, bounds, and the gain of the sensor, the
same in all windows of a card. With n pairs, relative gain half-width g, and N_c the sum over b less that over a on
card c:

    random      sqrt(Σ half²) / n                               falls with repeats
    bounds      Σ half / n                                      in full: they may be alike in every trial
    difference  g · sqrt(Σ_c N_c²) / n                          on one card g · |b − a|: scales it, cannot turn its sign
    ratio b/a   g · (b/a) · sqrt(Σ_c (share_b − share_a)²)      on one card 0: the gain cancels

A trial whose card is not known is taken to be on a card of its side alone, so that nothing cancels by assumption.
Source: GUM (JCGM 100:2008), 5.2, correlated inputs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wattlane.measure.campaigns.rows import meter_halves

Row = Mapping[str, Any]
CARD = "card"


@dataclass(frozen=True, slots=True)
class MeterError:
    """Half-widths: of the difference, in the metric's unit, from random parts, from gain and from bounds; of b/a."""

    random: float = 0.0
    gain: float = 0.0
    bounds: float = 0.0
    ratio_random: float = 0.0
    ratio_gain: float = 0.0
    ratio_bounds: float = 0.0


def meter_error(pairs: Sequence[tuple[Row, Row]], metric: str) -> MeterError:
    """Return what the meter's error does to the mean of b − a and to mean b / mean a over paired rows."""
    n, sums = len(pairs), [math.fsum(float(pair[side][metric]) for pair in pairs) for side in (0, 1)]
    gain, squares, bounds = 0.0, [0.0, 0.0], [0.0, 0.0]
    net: dict[str, float] = defaultdict(float)
    shares: dict[str, float] = defaultdict(float)
    for pair in pairs:
        for side, row in enumerate(pair):
            value, halves = float(row[metric]), meter_halves(row)
            gain = max(gain, halves.gain)
            squares[side] += (halves.random * value) ** 2
            bounds[side] += halves.bounds * abs(value)
            card = row.get(CARD) or f"unknown, side {side}"
            sign = 1 if side else -1
            net[card] += sign * value
            shares[card] += sign * value / sums[side] if sums[side] else 0.0
    ratio, below = (sums[1] / sums[0], abs(sums[0])) if sums[0] else (0.0, math.inf)
    return MeterError(
        math.sqrt(sum(squares)) / n,
        gain * math.hypot(*net.values()) / n,
        sum(bounds) / n,
        math.sqrt(squares[1] + ratio**2 * squares[0]) / below,
        gain * abs(ratio) * math.hypot(*shares.values()),
        (bounds[1] + abs(ratio) * bounds[0]) / below,
    )
