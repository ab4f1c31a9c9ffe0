"""Token accounting (D6) and static batches (D9, D10) on the published faults and on fixed seeds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from wattlane.core.errors import InputError
from wattlane.measure.batches import (
    Batching,
    Order,
    count_batches,
    make_batches,
    normalise,
    padding_waste,
    waste_bound,
)
from wattlane.measure.tokens import TokenCount, answer_tokens, count_generated, count_static

EOS, PAD = 2, 0


def published_batch(steps: int = 45, eos_after: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return (sequences, mask) of prompts with 683 and 1488 tokens, left-padded with EOS as the authors did."""
    width = 1488
    ids = np.full((2, width + steps), EOS)
    mask = np.zeros((2, width), dtype=int)
    for row, own in enumerate((683, 1488)):
        ids[row, width - own : width] = 100
        mask[row, width - own :] = 1
    ids[:, width:] = 200
    if eos_after is not None:
        ids[0, width + eos_after :] = EOS
    return ids, mask


def test_d6_left_padding_is_never_output():
    ids, mask = published_batch()
    counted = count_generated(ids, mask, {EOS}, EOS)
    assert counted == TokenCount(2, 2171, 2976, 90, 90)
    as_published = (ids.shape[1] - mask.sum(axis=1)).tolist()  # decoded length minus own prompt length
    assert as_published == [850, 45]
    assert sum(as_published) == 895
    assert count_static((683, 1488), 45) == counted


def test_d6_counting_stops_at_the_first_eos_although_pads_are_eos_too():
    counted = count_generated(*published_batch(eos_after=10), {EOS}, EOS)
    assert counted.output_effective_tokens == 11 + 45
    assert counted.output_computed_tokens == 90
    assert counted.decode_tokens == 10 + 44
    assert counted.output_waste == pytest.approx(1 - 56 / 90)


def test_answers_end_at_eos_or_at_the_first_pad_whichever_is_first():
    ids = np.array([[5, 5, 5, 5], [5, EOS, PAD, PAD], [5, 5, PAD, PAD], [EOS, 5, EOS, 5]])
    assert answer_tokens(ids, {EOS}, PAD).tolist() == [4, 2, 2, 1]
    assert answer_tokens(ids, {EOS}).tolist() == [4, 2, 4, 1]
    assert answer_tokens(ids, ()).tolist() == [4, 4, 4, 4]
    assert answer_tokens(np.zeros((2, 0), int), {EOS}).tolist() == [0, 0]
    with pytest.raises(InputError, match="cut the prompt off"):
        answer_tokens([1, 2], {EOS})


def test_a_pad_id_inside_a_prompt_is_a_token():
    counted = count_generated([[PAD, 7, PAD, 7, 9]], [[0, 1, 1, 1]], {EOS}, PAD)
    assert counted == TokenCount(1, 3, 4, 1, 1)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="width"):
        count_generated([[1, 2]], [[1, 1, 1]], {EOS})
    with pytest.raises(InputError, match="at least 1 token"):
        count_static([0, 4], 3)
    with pytest.raises(InputError, match=r"shape \(0,\)"):
        count_static([], 3)
    with pytest.raises(InputError, match="output_tokens holds -1"):
        count_static([3], -1)
    assert count_static([3], 0).output_waste == 0.0
    assert count_static([3], 0).decode_tokens == 0


def published_lengths(n: int, seed: int) -> np.ndarray:
    """Return prompt lengths like the published data set: 159 to 4073, mean 1190, sd 571."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.gamma(1189.8**2 / 571.0**2, 571.0**2 / 1189.8, n), 159, 4073).astype(int)


def test_d9_padding_is_flat_per_computed_and_rises_per_effective_token():
    lengths = published_lengths(10_000, seed=1)
    a_j, c_j = 2.0, 0.234
    found = []
    for size in (1, 2, 4, 8, 16, 32):
        batches = make_batches(lengths, Batching(size))
        counted = count_batches(lengths, np.ones_like(lengths), batches)
        energy_j = sum(a_j + c_j * len(rows) * int(lengths[rows].max()) for rows in batches)
        found.append(normalise(energy_j, counted))
    computed = [one.energy_j_per_computed_token for one in found]
    effective = [one.energy_j_per_effective_token for one in found]
    assert max(computed) / min(computed) < 1.01
    assert all(later > earlier for earlier, later in pairwise(effective))
    # printed for b = 16: 1.08e-4 Wh per effective and 5.8e-5 per computed token
    assert effective[4] / computed[4] == pytest.approx(1.08e-4 / 5.8e-5, rel=0.15)
    per_request = [one.energy_j_per_request for one in found]
    assert per_request[-1] > 1.5 * per_request[0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [2, 4, 16, 33])
def test_d10_waste_by_order_and_its_bounds(seed, size):
    lengths = published_lengths(1000, seed)
    waste = {order: padding_waste(lengths, make_batches(lengths, Batching(size, order, seed))) for order in Order}
    for order in Order:
        assert 0 <= waste[order] <= waste_bound(lengths, Batching(size, order, seed))
    assert waste[Order.SORTED] < waste[Order.BUCKETED] < min(waste[Order.DATA_SET], waste[Order.RANDOM])
    assert waste_bound(lengths, Batching(size, Order.SORTED)) < 0.1


def test_the_short_batch_stands_where_it_wastes_least():
    assert padding_waste([1, 9, 9, 1], make_batches([1, 9, 9, 1], Batching(3))) == pytest.approx(1 - 20 / 28)
    best = make_batches([1, 9, 9, 1], Batching(3, Order.SORTED))
    assert [len(rows) for rows in best] == [1, 3]
    assert padding_waste([1, 9, 9, 1], best) == pytest.approx(1 - 20 / 28)  # plain ascending order gives 36 tokens
    assert [len(rows) for rows in make_batches([1, 1, 1, 9], Batching(3, Order.SORTED))] == [3, 1]


def test_random_batches_follow_their_seed_and_buckets_their_edges():
    lengths = np.arange(1, 41)
    first, again, other = (make_batches(lengths, Batching(4, Order.RANDOM, seed)) for seed in (3, 3, 4))
    assert [rows.tolist() for rows in first] == [rows.tolist() for rows in again]
    assert [rows.tolist() for rows in first] != [rows.tolist() for rows in other]
    bucketed = make_batches([5, 50, 6, 60, 7], Batching(2, Order.BUCKETED, edges_tokens=(10,)))
    assert [rows.tolist() for rows in bucketed] == [[0, 2], [1, 3], [4]]


def test_wrong_batches_are_refused_together():
    with pytest.raises(InputError, match=r"holds 0[\s\S]*batch_size is 0[\s\S]*ascending"):
        make_batches([0, 3], Batching(0, edges_tokens=(5, 5)))
    with pytest.raises(InputError, match="one length a request"):
        make_batches([], Batching(1))
