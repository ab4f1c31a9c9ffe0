"""Static batches in four orders, and what padding wastes.

    waste = 1 − Σ n_i / Σ_k b_k · max_k n_i

- data set: as the requests come
- random:   a seeded shuffle
- sorted:   by length; the one batch that is not full stands where it wastes least. Of all ways to form batches of these
            sizes none computes fewer tokens, because the longest request may always be joined by the next longest.
            Padding is at most b · (longest − shortest) tokens in all: a batch starts where the one before ended.
- bucketed: requests keep their order but share a batch only within a range of lengths; a bucket [lo, hi) pads at most
            1 − lo / (hi − 1) of what it computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wattlane.core.errors import InputError
from wattlane.measure.tokens import TokenCount, count_static, total

Rows = NDArray[np.int64]
DEFAULT_EDGES_TOKENS = (64, 128, 256, 512, 1024, 2048, 4096)


class Order(StrEnum):
    """How requests are put into batches."""

    DATA_SET = "data_set"
    RANDOM = "random"
    SORTED = "sorted"
    BUCKETED = "bucketed"


@dataclass(frozen=True, slots=True)
class Batching:
    """Order and size of static batches; `seed` is of the shuffle, `edges_tokens` are where buckets meet."""

    batch_size: int
    order: Order = Order.DATA_SET
    seed: int = 0
    edges_tokens: Sequence[int] = DEFAULT_EDGES_TOKENS


def make_batches(input_tokens: ArrayLike, batching: Batching) -> tuple[Rows, ...]:
    """Return row numbers of each batch; every row of `input_tokens` (shape (n,)) is in exactly one.

    Raises:
        InputError: no requests, a length below 1, a batch size below 1, or edges that do not ascend.
    """
    lengths = np.asarray(input_tokens, dtype=np.int64)
    problems = []
    if lengths.ndim != 1 or len(lengths) == 0:
        problems.append(f"input_tokens has shape {lengths.shape}; expected one length a request")
    elif lengths.min() < 1:
        problems.append(f"input_tokens holds {lengths.min()}; expected at least 1")
    if batching.batch_size < 1:
        problems.append(f"batch_size is {batching.batch_size}; expected at least 1")
    if any(b <= a for a, b in zip(batching.edges_tokens, batching.edges_tokens[1:], strict=False)):
        problems.append(f"edges_tokens is {list(batching.edges_tokens)}; expected ascending lengths")
    if problems:
        raise InputError.gathered("batches", problems)
    return _MAKERS[Order(batching.order)](lengths, batching)


def count_batches(input_tokens: ArrayLike, output_tokens: ArrayLike, batches: Sequence[Rows]) -> TokenCount:
    """Return effective and computed tokens of all batches; `output_tokens` has shape (n,) like `input_tokens`."""
    prompts, answers = np.asarray(input_tokens), np.asarray(output_tokens)
    return total([count_static(prompts[rows], answers[rows]) for rows in batches])


def padding_waste(input_tokens: ArrayLike, batches: Sequence[Rows]) -> float:
    """Return the share of computed input tokens that is padding."""
    lengths = np.asarray(input_tokens)
    return count_batches(lengths, np.zeros_like(lengths), batches).input_waste


def waste_bound(input_tokens: ArrayLike, batching: Batching) -> float:
    """Return a bound that the waste of sorted or bucketed batches cannot pass; 1 − shortest / longest for the others.

    Raises:
        InputError: as `make_batches`.
    """
    lengths = np.asarray(input_tokens, dtype=np.int64)
    batches = make_batches(lengths, batching)
    spread = 1.0 - float(lengths.min()) / float(lengths.max())
    if batching.order is Order.SORTED:
        pads = batching.batch_size * int(lengths.max() - lengths.min())
        return min(spread, pads / (pads + int(lengths.sum())))
    if batching.order is Order.BUCKETED:
        return max(1.0 - float(lengths[rows].min()) / float(lengths[rows].max()) for rows in batches)
    return spread


@dataclass(frozen=True, slots=True)
class PerUnit:
    """Energy of static batches per request, per effective and per computed input token, J."""

    energy_j_per_request: float
    energy_j_per_effective_token: float
    energy_j_per_computed_token: float


def normalise(energy_j: float, counted: TokenCount) -> PerUnit:
    """Return `energy_j` of the counted batches in the three units; a ratio must use the same one on both sides."""
    return PerUnit(
        energy_j / counted.requests,
        energy_j / counted.input_effective_tokens,
        energy_j / counted.input_computed_tokens,
    )


def _cut(rows: Rows, size: int) -> tuple[Rows, ...]:
    return tuple(rows[start : start + size] for start in range(0, len(rows), size))


def _data_set(lengths: Rows, batching: Batching) -> tuple[Rows, ...]:
    return _cut(np.arange(len(lengths)), batching.batch_size)


def _random(lengths: Rows, batching: Batching) -> tuple[Rows, ...]:
    return _cut(np.random.default_rng(batching.seed).permutation(len(lengths)), batching.batch_size)


def _sorted(lengths: Rows, batching: Batching) -> tuple[Rows, ...]:
    rows, size = np.argsort(lengths, kind="stable"), batching.batch_size
    full, short = divmod(len(rows), size)
    if short == 0:
        return _cut(rows, size)
    ascending = lengths[rows]
    ends = np.arange(1, full + 1) * size - 1
    before = np.concatenate(([0], np.cumsum(size * ascending[ends])))
    after = np.concatenate((np.cumsum(size * ascending[ends + short][::-1])[::-1], [0]))
    own = short * ascending[np.arange(full + 1) * size + short - 1]
    place = int(np.argmin(before + own + after)) * size
    return (*_cut(rows[:place], size), rows[place : place + short], *_cut(rows[place + short :], size))


def _bucketed(lengths: Rows, batching: Batching) -> tuple[Rows, ...]:
    bucket = np.searchsorted(np.asarray(batching.edges_tokens), lengths, side="right")
    batches = [rows for b in np.unique(bucket) for rows in _cut(np.flatnonzero(bucket == b), batching.batch_size)]
    return tuple(sorted(batches, key=lambda rows: int(rows[0])))


_MAKERS: dict[Order, Callable[[Rows, Batching], tuple[Rows, ...]]] = {
    Order.DATA_SET: _data_set,
    Order.RANDOM: _random,
    Order.SORTED: _sorted,
    Order.BUCKETED: _bucketed,
}
