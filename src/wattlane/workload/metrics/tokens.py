"""Token counts for requests known only by step and bucket.

Requests are apportioned to buckets, not drawn: the histogram of each step is kept. Within a bucket a length is drawn;
then the lengths of a step are moved together towards the upper or lower bound of their buckets until their sum is the
recorded one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wattlane.workload.lengths.drawn import within
from wattlane.workload.metrics.counters import whole
from wattlane.workload.metrics.histograms import TokenHistory
from wattlane.workload.metrics.responses import Floats

Tokens = NDArray[np.int64]


def apportion(requests: Tokens, histogram: Floats) -> Tokens:
    """Return whole requests for each step and bucket; each row sums to `requests` and follows `histogram`.

    A step without a histogram follows that of all steps.
    """
    totals = histogram.sum(axis=1, keepdims=True)
    shares = np.divide(histogram, totals, where=totals > 0, out=np.tile(histogram.sum(axis=0), (len(totals), 1)))
    shares /= shares.sum(axis=1, keepdims=True)
    return whole((shares * requests[:, None]).ravel()).reshape(histogram.shape)


def lengths_of(
    rng: np.random.Generator, requests: Tokens, step: Tokens, history: TokenHistory, spacing: str
) -> tuple[Tokens, Tokens]:
    """Return the tokens and the bucket of each request, in random order within each step.

    Args:
        rng: the random stream.
        requests: requests for each step.
        step: the step of each request, ascending.
        history: the histogram and the sums.
        spacing: weight within a bucket, `log` or `uniform`.
    """
    counts = apportion(requests, history.requests)
    buckets = np.repeat(np.tile(np.arange(counts.shape[1]), len(counts)), counts.ravel())
    buckets = buckets[np.lexsort((rng.random(len(step)), step))]
    lo, hi = history.lo_tokens[buckets], history.hi_tokens[buckets]
    tokens = within(rng, lo, hi, spacing)
    if history.sum_tokens is not None:
        wanted = whole(_of_kept(history.sum_tokens, requests))
        tokens = move_to_sum(tokens, lo, hi, step, wanted)
        tokens = move_to_sum(tokens, lo, hi, np.zeros_like(step), np.array([wanted.sum()]))
    return tokens, buckets


def move_to_sum(tokens: Tokens, lo: Tokens, hi: Tokens, group: Tokens, wanted: Tokens) -> Tokens:
    """Return tokens within `lo … hi` whose sum in each group is `wanted`, or the nearest that the bounds allow."""
    size = len(wanted)
    total, least, most = (_sums(group, values, size) for values in (tokens, lo, hi))
    target = np.clip(wanted, least, most)
    up = _share(target - total, most - total)[group]
    down = _share(total - target, total - least)[group]
    moved = tokens + up * (hi - tokens) - down * (tokens - lo)
    floor = np.clip(np.floor(moved), lo, hi).astype(np.int64)
    left = target - _sums(group, floor, size)
    order = np.lexsort((floor - moved, group))
    rank = np.arange(len(tokens)) - np.searchsorted(group, group)
    floor[order] += rank < left[group]
    return np.clip(floor, lo, hi)


def _sums(group: Tokens, values: Tokens, size: int) -> Tokens:
    sums: Tokens = np.zeros(size, np.int64)
    np.add.at(sums, group, values)
    return sums


def _share(wanted: Tokens, room: Tokens) -> Floats:
    return np.divide(wanted, room, where=room > 0, out=np.zeros(len(room))).clip(0.0, 1.0)


def _of_kept(sums: Floats, requests: Tokens) -> Floats:
    """Move the tokens of steps without requests (scrapes that fell between two counters) to the next step that has."""
    kept = np.flatnonzero(requests)
    moved: Floats = np.zeros(len(sums))
    place = np.minimum(np.searchsorted(kept, np.arange(len(sums))), len(kept) - 1)
    np.add.at(moved, kept[place], sums)
    return moved
