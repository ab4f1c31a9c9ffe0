"""The "random" arrivals of Delavande et al. 2026 as their released code makes them.

Request i starts at a *fresh* sum of i draws from U(low, high) instead of one gap after request i − 1, so starts are
independent random walks: 46–49 % of neighbours are swapped and the gaps of the ordered starts have CV about 1, close to
a Poisson process of rate 1 / mean gap, where a renewal process has 0.58, 0.41 or 0.14 for the three published ranges.
The sum of 64 and more draws is taken from its normal limit (excess kurtosis −1.2 / i): n² / 2 draws become n.
Kept for comparison with the published figures only; `kind=uniform` is the process the text describes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wattlane.workload.arrivals.uniform import PARAMS, check_range
from wattlane.workload.spec import Kind

DIRECT_SUMS = 64


def legacy_starts(rng: np.random.Generator, n: int, *, low_s: float, high_s: float) -> NDArray[np.float64]:
    """Return the n starts in the order of their prompts, not ascending, seconds.

    Raises:
        InputError: the range is empty or negative.
    """
    check_range("arrival kind=delavande_legacy", low_s, high_s)
    direct = min(n, DIRECT_SUMS)
    draws_s = rng.uniform(low_s, high_s, (direct, DIRECT_SUMS))
    few = np.tril(draws_s[:, : max(direct - 1, 1)], -1).sum(axis=1)
    count = np.arange(direct, n, dtype=np.float64)
    many = count * (low_s + high_s) / 2 + np.sqrt(count / 12) * (high_s - low_s) * rng.standard_normal(n - direct)
    return np.concatenate((few, many))


def inversions(starts_s: NDArray[np.float64]) -> float:
    """Return the share of neighbours that are out of order."""
    return float(np.mean(np.diff(starts_s) < 0)) if len(starts_s) > 1 else 0.0


def delavande_legacy(rng: np.random.Generator, n: int, *, low_s: float, high_s: float) -> NDArray[np.float64]:
    """Return the n starts ascending, seconds.

    Raises:
        InputError: the range is empty or negative.
    """
    return np.sort(legacy_starts(rng, n, low_s=low_s, high_s=high_s))


KIND = Kind(
    "delavande_legacy",
    delavande_legacy,
    "independent random walks, as published; not a renewal process",
    PARAMS,
    needs_n=True,
)
