"""Attainment and gap statistics straight from a replica's record, without expanding every token gap.

A request's gaps are the differences of consecutive iteration ends, so how many of them exceed a target is the
difference of two running counts. Only where the interpolated p99 falls between a gap that meets the target and one
that does not are the gaps themselves looked at.
"""

from __future__ import annotations

import numpy as np

from wattlane.core.served import MANY_GAPS
from wattlane.model.jit import kernel
from wattlane.sim.replica import END_S, OUTPUT, POWER_W, REFUSED, START_S

BINS_PER_DECADE = 400  # gap histogram: 0.6 % wide bins from 10 µs on
LOWEST_S = 1e-5
BINS = 8 * BINS_PER_DECADE


@kernel
def p99_meets(stamps_s: np.ndarray, start: int, gaps: int, bad: int, target_s: float) -> bool:
    """Return whether the interpolated p99 of at least two gaps meets a target that `bad` of them are above.

    Ranks that lie among gaps on one side of the target decide by the count; only where the target lies between the two
    ranks that are interpolated, these two are looked for: the largest gap that meets it and the least that does not.
    """
    position = 0.99 * (gaps - 1)
    low = int(position)
    if low + 1 < gaps - bad:
        return True
    if low >= gaps - bad:
        return False
    below, above = 0.0, np.inf
    for j in range(gaps):
        gap = stamps_s[start + j + 1] - stamps_s[start + j]
        if gap <= target_s:
            below = max(below, gap)
        else:
            above = min(above, gap)
    return below + (position - low) * (above - below) <= target_s


@kernel
def attains(
    record: np.ndarray,
    first: np.ndarray,
    arrival_s: np.ndarray,
    requests: np.ndarray,
    ttft_s: float,
    tbt_s: float,
) -> np.ndarray:
    """Return for each request of one replica whether it met both targets (1 or 0), the refused ones 0."""
    over = np.zeros(record.shape[0] + 1, np.int64)  # over[i]: gaps above the target among iterations before i
    for i in range(1, record.shape[0]):
        over[i + 1] = over[i] + (1 if record[i, END_S] - record[i - 1, END_S] > tbt_s else 0)
    out = np.zeros(first.size, np.int64)
    for r in range(first.size):
        if first[r] == REFUSED or record[first[r], END_S] - arrival_s[r] > ttft_s:
            continue
        gaps = requests[r, OUTPUT] - 1
        bad = over[first[r] + gaps + 1] - over[first[r] + 1]
        if bad == 0 or (gaps >= MANY_GAPS and p99_meets(record[:, END_S], first[r], gaps, bad, tbt_s)):
            out[r] = 1
    return out


@kernel
def totals(record: np.ndarray, decoding: np.ndarray) -> tuple[float, float, float]:
    """Return (seconds busy, joules of all iterations, sequence-seconds of decoding) of one replica in one pass."""
    busy_s = joules = sequence_s = 0.0
    for i in range(record.shape[0]):
        span_s = record[i, END_S] - record[i, START_S]
        busy_s += span_s
        joules += record[i, POWER_W] * span_s
        sequence_s += decoding[i] * span_s
    return busy_s, joules, sequence_s


@kernel
def gap_histogram(record: np.ndarray, decoding: np.ndarray, out: np.ndarray) -> None:
    """Add the token gaps of one replica to `out` (BINS,): bin floor(400·log10(gap / 10 µs))."""
    for i in range(1, record.shape[0]):
        if decoding[i] > 0:
            gap = record[i, END_S] - record[i - 1, END_S]
            bin_ = int(BINS_PER_DECADE * np.log10(max(gap, LOWEST_S) / LOWEST_S))
            out[min(bin_, BINS - 1)] += decoding[i]


def histogram_quantile_s(counts: np.ndarray, q: float) -> float:
    """Return the q-quantile of a gap histogram, seconds, to the width of a bin; 0 if it is empty."""
    total = counts.sum()
    if total == 0:
        return 0.0
    bin_ = int(np.searchsorted(np.cumsum(counts), q * total))
    return float(LOWEST_S * 10 ** ((min(bin_, BINS - 1) + 0.5) / BINS_PER_DECADE))
