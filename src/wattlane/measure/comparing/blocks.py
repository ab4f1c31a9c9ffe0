"""Mean of a series whose neighbours are alike (requests share a queue), with its interval by circular blocks.

    var(mean) = var over all starts s of (x_s + … + x_{s+b−1}) / b, divided by k = n / b blocks

That is what a circular block bootstrap converges to, without drawing. The length b = n^⅓ · (2ρ / (1 − ρ²))^⅔ follows
from the correlation ρ of neighbours; the interval is Student's with k − 1 degrees of freedom.
Source: Politis and White (2004), doi 10.1081/ETC-120028836, for an autoregression of first order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.measure.spread import LEVEL, t_quantile

FEWEST_BLOCKS = 5


@dataclass(frozen=True, slots=True)
class BlockMean:
    """Mean of n values, its 95 % interval, and the blocks behind it; the interval is None below five values."""

    n: int
    mean: float
    lo: float | None
    hi: float | None
    block: int
    error: float | None


def block_mean(values: NDArray[np.float64]) -> BlockMean | None:
    """Return mean and interval of `values` (in their order); None of none."""
    n = len(values)
    if n == 0:
        return None
    mean = float(values.mean())
    if n < FEWEST_BLOCKS:
        return BlockMean(n, mean, None, None, 1, None)
    block = block_length(values)
    ring = np.concatenate(([0.0], np.cumsum(np.concatenate((values, values[: block - 1])) - mean)))
    means = (ring[block:] - ring[:-block]) / block
    count = n // block
    error = math.sqrt(float(np.mean(means**2)) / max(count - 1, 1))
    half = t_quantile(LEVEL, max(count - 1, 1)) * error
    return BlockMean(n, mean, mean - half, mean + half, block, error)


def block_length(values: NDArray[np.float64]) -> int:
    """Return how many neighbours make a block, from 1 to a fifth of the series."""
    n = len(values)
    centred = values - values.mean()
    power = float(centred @ centred)
    if power <= 0:
        return 1
    rho = min(max(float(centred[:-1] @ centred[1:]) / power, 0.0), 0.99)
    length = (2 * rho / (1 - rho**2)) ** (2 / 3) * n ** (1 / 3)
    return int(min(max(round(length), 1), n // FEWEST_BLOCKS))
