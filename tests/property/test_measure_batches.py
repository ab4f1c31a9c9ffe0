"""Laws of token accounting and of batches over random lengths."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wattlane.measure.batches import Batching, Order, make_batches, padding_waste, waste_bound
from wattlane.measure.tokens import count_generated, count_static

EOS = 2
lengths = st.lists(st.integers(1, 400), min_size=1, max_size=40)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 30)), min_size=1, max_size=12), st.booleans())
def test_d6_counts_of_any_batch_are_its_own_lengths_and_no_pad(rows, pads_are_eos):
    pad = EOS if pads_are_eos else 0
    width, steps = (max(row[i] for row in rows) for i in (0, 1))
    ids = np.full((len(rows), width + steps), pad)
    mask = np.zeros((len(rows), width), int)
    for i, (n_in, n_out) in enumerate(rows):
        ids[i, width - n_in : width], mask[i, width - n_in :] = 7, 1
        ids[i, width : width + n_out] = 8
        if n_out < steps:
            ids[i, width + n_out - 1] = EOS
    counted = count_generated(ids, mask, {EOS}, pad)
    assert counted == count_static([n for n, _ in rows], [m for _, m in rows])
    assert counted.output_effective_tokens == sum(m for _, m in rows) <= counted.output_computed_tokens
    assert counted.input_effective_tokens == sum(n for n, _ in rows) <= counted.input_computed_tokens
    assert 0 <= counted.input_waste < 1


@settings(deadline=None)
@given(lengths, st.integers(1, 9), st.sampled_from(list(Order)), st.integers(0, 99))
def test_every_request_is_in_exactly_one_batch_and_waste_stays_below_its_bound(values, size, order, seed):
    batching = Batching(size, order, seed, edges_tokens=(30, 100, 250))
    batches = make_batches(values, batching)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(values)))
    assert all(1 <= len(rows) <= size for rows in batches)
    assert -1e-12 <= padding_waste(values, batches) <= waste_bound(values, batching) + 1e-12


@settings(deadline=None)
@given(lengths, st.integers(1, 9), st.integers(0, 99))
def test_d10_sorting_never_increases_waste(values, size, seed):
    best = padding_waste(values, make_batches(values, Batching(size, Order.SORTED)))
    for order in (Order.DATA_SET, Order.RANDOM):
        assert best <= padding_waste(values, make_batches(values, Batching(size, order, seed))) + 1e-12


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 4))
def test_no_order_of_a_small_set_wastes_less_than_sorting(values, size):
    best = padding_waste(values, make_batches(values, Batching(size, Order.SORTED)))
    least = min(padding_waste(order, make_batches(order, Batching(size))) for order in permutations(values))
    assert best <= least + 1e-12
