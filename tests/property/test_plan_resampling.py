"""Block resampling rebuilds a workload of the same span from its own minutes."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wattlane.core.workload import Workload
from wattlane.plan.uncertainty import BLOCK_S, resample_blocks

arrivals = st.lists(st.floats(0.0, 900.0, allow_subnormal=False), min_size=1, max_size=80).map(sorted)


def workload(arrival_s: list[float]) -> Workload:
    """Return requests whose input length is their own number, so that each can be followed."""
    n = len(arrival_s)
    return Workload(np.array(arrival_s) + 7.0, np.arange(n) + 1, np.full(n, 3), np.arange(n))


@given(arrivals, st.integers(0, 2**32))
def test_resampling_keeps_order_span_and_requests(arrival_s: list[float], seed: int) -> None:
    whole = workload(arrival_s)
    made = resample_blocks(whole, np.random.default_rng(seed))
    start_s = made.arrival_s if made is not whole else made.arrival_s - whole.arrival_s[0]
    assert np.all(np.diff(made.arrival_s) >= 0.0)
    assert start_s[0] >= 0.0
    assert start_s[-1] <= whole.span_s + 1e-6
    # rows stay whole: every request has the lengths it had
    assert np.array_equal(made.input_tokens, made.cached_tokens + 1)
    assert set(made.input_tokens) <= set(whole.input_tokens)


@given(arrivals, st.integers(0, 2**32))
def test_blocks_are_drawn_whole_and_keep_their_offsets(arrival_s: list[float], seed: int) -> None:
    whole = workload(arrival_s)
    made = resample_blocks(whole, np.random.default_rng(seed))
    if made is whole:
        return
    start_s = whole.arrival_s - whole.arrival_s[0]
    blocks = max(1, int(np.ceil(whole.span_s / BLOCK_S)))
    length_s = whole.span_s / blocks
    assert length_s <= BLOCK_S
    of = np.searchsorted(length_s * np.arange(1, blocks), start_s, side="right")
    size, drawn = Counter(of.tolist()), Counter(of[made.input_tokens - 1].tolist())
    assert all(count % size[block] == 0 for block, count in drawn.items())
    assert sum(count // size[block] for block, count in drawn.items()) <= blocks
    # every request lies as far behind the start of its new place as it did behind that of its block
    moved_s = made.arrival_s - start_s[made.input_tokens - 1]
    if length_s > 0:
        places = moved_s / length_s
        assert np.all(np.abs(places - np.round(places)) * length_s < 1e-6)


def test_the_expected_number_of_requests_is_that_of_the_workload() -> None:
    # a span just above one block must not leave most of the second one empty
    whole = workload(np.linspace(0.0, BLOCK_S * 1.01, 200).tolist())
    counts = [len(resample_blocks(whole, np.random.default_rng(seed))) for seed in range(200)]
    assert abs(np.mean(counts) - 200) < 2


@given(st.integers(0, 2**32))
def test_the_same_generator_gives_the_same_workload(seed: int) -> None:
    whole = workload(np.linspace(0.0, 400.0, 50).tolist())
    one, two = (resample_blocks(whole, np.random.default_rng(seed)) for _ in range(2))
    assert np.array_equal(one.arrival_s, two.arrival_s)
    assert np.array_equal(one.input_tokens, two.input_tokens)


def test_a_burst_and_a_single_request_are_one_block() -> None:
    for n in (1, 5):
        made = resample_blocks(workload([0.0] * n), np.random.default_rng(0))
        assert len(made) == n
        assert made.span_s == 0.0


def test_where_only_empty_minutes_are_drawn_the_workload_is_returned() -> None:
    whole = workload([0.0, 3000.0])
    made = [resample_blocks(whole, np.random.default_rng(seed)) for seed in range(100)]
    assert any(one is whole for one in made)
    assert all(len(one) >= 1 for one in made)
