"""Covering a demand with whole instances: bounded below and above by the two roundings of the rates."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattlane.plan.configure import knapsack


@pytest.fixture(autouse=True, scope="module")
def few_steps():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knapsack, "STEPS", 1000)
        yield


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_covering_is_bounded_below_and_above_by_the_two_roundings(seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs, rates, demand = rng.uniform(1.0, 9.0, 3), rng.uniform(0.5, 4.0, 3), rng.uniform(0.1, 9.0)
    counts = np.array(list(itertools.product(range(20), repeat=3)))
    best = (counts @ costs)[counts @ rates >= demand].min()
    assert knapsack.lower(costs, rates, demand) <= best * (1 + 1e-9)
    found = knapsack.cover(costs, rates, demand)
    assert found is not None
    assert found @ rates >= demand
    # few steps, so that this also runs uncompiled: an instance may serve up to a step less than it can
    assert found @ costs <= best * 1.05


def test_nothing_covers_a_demand_without_modes() -> None:
    none = np.zeros(0)
    assert knapsack.lower(none, none, 1.0) == np.inf
    assert knapsack.lower(none, none, 0.0) == 0.0
    assert knapsack.cover(none, none, 1.0) is None
    assert knapsack.cover(none, none, 0.0) is not None
