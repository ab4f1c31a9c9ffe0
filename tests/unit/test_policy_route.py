"""Routing rules on columns written by hand, and what the law foresees against the plain law."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reference_engine import Law
from sim_scenes import law
from wattlane.model import iteration as it
from wattlane.model.jit import kernel
from wattlane.policy import foresee, route

# What would prove the rules wrong: a request on a replica that does not fit while one does; on a replica at rest while
# an awake one fits; equal replicas filled evenly; a prefix sought where load is out of balance; a compiled rule that
# decides otherwise.


def columns(*values: float) -> np.ndarray:
    return np.array(values, float)


def test_the_fullest_replica_that_fits_is_taken_and_the_first_of_equals() -> None:
    fits = np.array([True, True, False, True])
    assert route.most_loaded(np.array([1, 3, 9, 3]), fits) == 1
    assert route.most_loaded(np.array([1, 3, 9, 3]), np.zeros(4, bool)) == -1


def test_the_least_joules_that_fit_are_taken_and_rounding_decides_nothing() -> None:
    fits = np.array([True, False, True])
    assert route.least_energy(columns(3, 1, 2), fits) == 2
    assert route.least_energy(columns(2, 1, 2 * (1 - 1e-9)), fits) == 0
    assert route.least_energy(columns(2, 1, 2), np.zeros(3, bool)) == -1


def test_the_longest_prefix_is_taken_unless_load_is_out_of_balance() -> None:
    assert route.prefix_aware(np.array([0, 64, 64]), np.array([0, 5, 4]), 5) == 2
    assert route.prefix_aware(np.array([0, 64, 64]), np.array([0, 5, 4]), 4) == -1
    assert route.prefix_aware(np.zeros(3, int), np.array([2, 1, 1]), 4) == 1


def test_wattlane_fills_replicas_that_work_before_it_opens_others_and_wakes_one_last() -> None:
    alike, fits = columns(1, 1, 1), np.ones(3, bool)
    awake, soon = np.array([True, True, False]), columns(3, 2, 1)
    assert route.wattlane(alike, np.array([0, 2, 0]), fits, awake, soon) == 1
    assert route.wattlane(alike, np.array([4, 7, 0]), fits, awake, soon) == 1
    assert route.wattlane(alike, np.array([0, 7, 0]), np.array([True, False, True]), awake, soon) == 0
    assert route.wattlane(alike, np.array([0, 7, 0]), np.array([False, False, True]), awake, soon) == 2
    assert route.wattlane(alike, np.array([0, 7, 0]), np.zeros(3, bool), awake, soon) == 2


def test_wattlane_leaves_a_dearer_kind_until_the_cheaper_one_is_full() -> None:
    joules, requests = columns(1.0, 1.2, 2.0), np.array([1, 2, 9])
    nobody_rests, soon = np.ones(3, bool), columns(1, 1, 1)
    assert route.wattlane(joules, requests, np.ones(3, bool), nobody_rests, soon) == 1
    assert route.wattlane(joules, requests, np.array([False, False, True]), nobody_rests, soon) == 2


@pytest.mark.parametrize("seed", range(40))
def test_the_law_foresees_gaps_first_tokens_and_joules(seed: int) -> None:
    rng = np.random.default_rng(seed)
    row = law(rng, experts=bool(seed % 2), clipped=seed % 3 == 0)
    plain, budget = Law(row), int(rng.integers(4, 300))
    d, k = float(rng.integers(0, 9)), float(rng.integers(0, 900))
    k = k if d else 0.0
    prompts, tokens, out = float(rng.integers(1, 5)), float(rng.integers(0, 900)), float(rng.integers(1, 60))
    gap_s, first_s = foresee.latencies(row, budget, d, k, prompts, tokens)
    after_s = plain.seconds([0.0, 0.0, d + prompts, k + tokens])
    if tokens == 0:
        assert (gap_s, first_s) == pytest.approx((after_s, after_s))
        return
    n = math.ceil(tokens / max(budget - d, 1))
    chunk = [tokens / n, tokens * (tokens / prompts + 1) / 2 / n, d, k]
    assert first_s == pytest.approx(n * plain.seconds(chunk))
    assert gap_s == pytest.approx(max(plain.seconds(chunk), after_s) if d or n > 1 else after_s)
    chunk[1] = tokens * (tokens + 1) / 2 / n
    now_j = float(plain.joules([0.0, 0.0, d, k]))
    more = [0.0, 0.0, d + 1, k + tokens + out / 2]
    wanted = 0.0
    for times, x in ((n, chunk), (out - 1, more)):
        base_j = now_j if d else row[it.IDLE_W] * plain.seconds(x)
        wanted += times * (float(plain.joules(x)) - base_j)
    assert foresee.marginal_j(row, budget, d, k, tokens, out) == pytest.approx(wanted, rel=1e-9)


def test_the_largest_batch_is_the_last_whose_gap_holds() -> None:
    row = law(np.random.default_rng(3), experts=False, clipped=False)
    for context, most in ((50.0, 64), (5000.0, 64), (50.0, 1)):
        for gap_s in (1e-6, 0.02, 0.03, 0.2, 1e3):
            found = foresee.largest_batch(row, context, gap_s, most)
            held = [b for b in range(1, most + 1) if it.cost(row, 0.0, 0.0, b, b * context)[0] <= gap_s]
            assert found == max(held, default=1)


def test_a_fuller_replica_costs_a_request_less_of_its_time() -> None:
    row = law(np.random.default_rng(3), experts=False, clipped=False)
    tight, loose = (foresee.replica_seconds(row, 100.0, 50.0, gap_s, 64) for gap_s in (0.02, 1.0))
    assert loose < tight


@pytest.mark.parametrize("seed", range(20))
def test_compiled_rules_decide_as_the_plain_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 6))
    joules, wait_s = rng.integers(1, 4, n) * 1.1, rng.random(n)
    requests, hits = rng.integers(0, 4, n), rng.integers(0, 3, n) * 16
    fits, awake = rng.random(n) < 0.6, rng.random(n) < 0.6
    for rule, arguments in (
        (route.least_loaded, (requests,)),
        (route.most_loaded, (requests, fits)),
        (route.least_energy, (joules, fits)),
        (route.prefix_aware, (hits, requests, 2)),
        (route.wattlane, (joules, requests, fits, awake, wait_s)),
    ):
        assert kernel(rule)(*arguments) == rule(*arguments)
