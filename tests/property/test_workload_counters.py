"""What holds when counters are taken apart and put together again, whatever they show."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattlane.workload.metrics.counters import Grid, increases, whole
from wattlane.workload.metrics.tokens import apportion, move_to_sum

COUNTS = st.lists(st.integers(0, 50), min_size=2, max_size=30)


@given(amounts=st.lists(st.floats(0, 1000), min_size=1, max_size=50))
def test_whole_numbers_stay_within_one_and_keep_the_total(amounts: list[float]) -> None:
    given_amounts = np.array(amounts)
    rounded = whole(given_amounts)
    assert (np.abs(rounded - given_amounts) < 1 + 1e-6).all()
    assert abs(rounded.sum() - given_amounts.sum()) <= 0.5 + 1e-6


@given(steps=COUNTS, restarts=st.sets(st.integers(0, 28)), before=st.integers(0, 10**6))
def test_a_restart_at_a_sample_loses_nothing(steps: list[int], restarts: set[int], before: int) -> None:
    shown, value = [float(before)], float(before)
    for number, grown in enumerate(steps):
        # A restart shows only as a fall: what a server gains at once past its old count cannot be told from growth.
        value = float(grown) if number in restarts and grown < value else value + grown
        shown.append(value)
    grid = Grid(60.0 * np.arange(len(steps) + 1), 60.0)
    found = increases(grid.edges_s, np.array(shown)[:, None], grid)
    assert found.values[:, 0].tolist() == [float(grown) for grown in steps]


@given(data=st.data(), steps=st.integers(1, 6), buckets=st.integers(1, 5))
def test_apportioned_requests_fill_every_step_and_only_buckets_that_were_hit(
    data: st.DataObject, steps: int, buckets: int
) -> None:
    cells = data.draw(st.lists(st.integers(0, 20), min_size=steps * buckets, max_size=steps * buckets))
    histogram = np.array(cells, dtype=np.float64).reshape(steps, buckets)
    histogram[0, 0] += 1
    requests = np.array(data.draw(st.lists(st.integers(0, 40), min_size=steps, max_size=steps)))
    counts = apportion(requests, histogram)
    assert counts.sum(axis=1).tolist() == requests.tolist()
    assert (counts >= 0).all()
    assert (counts[:, histogram.sum(axis=0) == 0] == 0).all()
    assert apportion(histogram.sum(axis=1).astype(np.int64), histogram).tolist() == histogram.tolist()


@given(data=st.data(), n=st.integers(1, 40))
def test_lengths_moved_to_a_sum_reach_it_within_their_buckets(data: st.DataObject, n: int) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    lo = rng.integers(1, 5000, n)
    hi = lo + rng.integers(0, 5000, n)
    tokens = rng.integers(lo, hi + 1)
    group = np.sort(rng.integers(0, 3, n))
    wanted = np.array([rng.integers(lo[group == g].sum(), hi[group == g].sum() + 1) for g in range(3)])
    moved = move_to_sum(tokens, lo, hi, group, wanted)
    assert [int(moved[group == g].sum()) for g in range(3)] == wanted.tolist()
    assert (moved >= lo).all()
    assert (moved <= hi).all()


@pytest.mark.parametrize(("wanted", "reached"), [(1, 20), (10**6, 200)])
def test_a_sum_the_buckets_do_not_allow_is_approached_to_their_bounds(wanted: int, reached: int) -> None:
    lo, hi = np.array([10, 10]), np.array([100, 100])
    moved = move_to_sum(np.array([50, 60]), lo, hi, np.zeros(2, np.int64), np.array([wanted]))
    assert moved.sum() == reached
