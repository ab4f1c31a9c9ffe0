"""Clock policies as plain functions: what each must never do, and that compiled code decides alike."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattlane.model.jit import kernel
from wattlane.policy import clock, clock_loop

COMPILED = not numba.config.DISABLE_JIT
positive = st.floats(1e-3, 1e3)
grids = st.lists(st.tuples(positive, positive), min_size=1, max_size=9)
budgets = st.one_of(st.just(math.inf), st.just(0.0), positive)


def columns(pairs: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    seconds, joules = np.array(pairs).T
    return np.ascontiguousarray(seconds), np.ascontiguousarray(joules)


@given(grids, budgets)
def test_lowest_feasible_is_the_first_that_fits_and_else_the_highest(pairs, budget_s: float) -> None:
    seconds, _ = columns(pairs)
    c = clock.lowest_feasible(seconds, budget_s)
    fits = np.flatnonzero(seconds <= budget_s)
    assert c == (fits[0] if len(fits) else len(seconds) - 1)
    if seconds[-1] <= budget_s:
        assert seconds[c] <= budget_s


@given(grids, positive, budgets, budgets)
def test_least_net_costs_no_more_than_the_lowest_and_the_highest_feasible(
    pairs, price_w: float, gap_s: float, prompt_s: float
) -> None:
    seconds, joules = columns(pairs)
    net_j = joules - price_w * seconds
    c = clock.least_net(seconds, joules, seconds, price_w, gap_s, prompt_s)
    fits = np.flatnonzero(seconds <= min(gap_s, prompt_s))
    if len(fits) == 0:
        assert c == len(seconds) - 1
        return
    assert c in fits
    assert net_j[c] == net_j[fits].min()
    assert net_j[c] <= net_j[clock.lowest_feasible(seconds, min(gap_s, prompt_s))]


@given(grids, positive, positive)
def test_least_net_keeps_the_gap_for_an_iteration_that_prompts_join(pairs, price_w: float, gap_s: float) -> None:
    seconds, joules = columns(pairs)
    joined_s = 2.0 * seconds
    c = clock.least_net(seconds, joules, joined_s, price_w, gap_s, math.inf)
    assert joined_s[c] <= gap_s or (joined_s > gap_s).all()


@given(positive, positive, st.floats(0.1, 1.0))
def test_at_the_prompt_budget_every_prompt_is_in_time(p: float, need_per_s: float, allow: float) -> None:
    budget_s = clock.prompt_budget_s(p, need_per_s, True, allow)
    assert p / budget_s == pytest.approx(need_per_s / allow)
    assert clock.prompt_budget_s(p, 0.0, False, allow) == math.inf


def test_who_waits_without_being_processed_gets_the_highest_clock() -> None:
    assert clock.prompt_budget_s(0.0, 3.0, True, 0.9) == 0.0
    assert clock.prompt_budget_s(0.0, 0.0, False, 0.9) == math.inf


@pytest.mark.parametrize("requests", [0.05, 0.5, 2.0, 9.0])
def test_the_price_of_time_is_the_slope_of_power_at_rest_and_under_load(requests: float) -> None:
    """Power above rest is N·(C0 − rest·t) + R·C1 with N = (1 − exp(−R·t))/t iterations a second; here t = a."""
    a, empty_j, rest_w = 0.01, 3.0, 70.0
    rate = requests / a

    def power_w(t: float) -> float:
        return (1.0 - math.exp(-rate * t)) / t * (empty_j - rest_w * t)

    step = 1e-7
    slope = (power_w(a + step) - power_w(a - step)) / (2.0 * step)
    iterations_per_s = (1.0 - math.exp(-requests)) / a
    assert clock.time_w(requests, empty_j / a, rest_w) == pytest.approx(-slope / iterations_per_s, rel=1e-6)


@given(st.floats(0.0, 500.0), positive, positive)
def test_time_is_worth_rest_at_least_and_an_empty_iteration_at_most(mean: float, empty_w: float, rest_w: float) -> None:
    worth = clock.time_w(mean, empty_w, rest_w)
    assert rest_w * (1 - 1e-9) <= worth <= max(empty_w, rest_w) * (1 + 1e-9)
    assert clock.time_w(0.0, empty_w, rest_w) == rest_w
    assert worth <= clock.time_w(mean + 1.0, empty_w, rest_w) * (1 + 1e-9)


@given(positive, positive, positive, st.floats(0.0, 1e3), positive)
def test_what_is_remembered_stays_between_what_was_and_what_is(
    before: float, now: float, seconds: float, rested_s: float, memory_s: float
) -> None:
    mean = clock.crowd(before, now, seconds, rested_s, memory_s)
    assert 0.0 <= mean <= max(before, now) * (1 + 1e-12)
    assert clock.crowd(before, before, seconds, 0.0, memory_s) == pytest.approx(before)
    assert clock.crowd(before, now, seconds, 2.0 * memory_s, memory_s) == 0.0
    guard = clock.guard(before, now, seconds, memory_s)
    assert now <= guard <= max(before, now)
    assert clock.guard(before, now, 2.0 * memory_s, memory_s) == now


@given(st.integers(1, 60), st.floats(0.0, 1.0), st.lists(st.booleans(), max_size=80), st.floats(1.01, 3.0), positive)
def test_miad_stays_in_the_grid_and_goes_where_it_is_pressed(
    clocks: int, start: float, pressed: list[bool], increase: float, decrease: float
) -> None:
    level = 1.0 + start * (clocks - 1)
    for p in pressed:
        after = clock_loop.miad(level, p, increase, decrease, clocks)
        assert 1.0 <= after <= clocks
        assert after >= level if p else after <= level
        level = after
    for _ in range(math.ceil(math.log(clocks) / math.log(increase)) + 1):
        level = clock_loop.miad(level, True, increase, decrease, clocks)
    assert level == clocks


@given(st.integers(1, 20), st.integers(0, 19), st.integers(0, 19), st.booleans(), st.booleans())
def test_the_band_keeps_its_floor_and_moves_by_a_step_within_it(
    clocks: int, at: int, floor: int, late: bool, near: bool
) -> None:
    at, floor = min(at, clocks - 1), min(floor, clocks - 1)
    after = clock_loop.band_step(at, floor, late, near or late, clocks)
    assert 0 <= after < clocks
    assert after >= floor - 1
    if at >= floor - 1:
        assert abs(after - at) <= 1
        assert after >= at or not near
        assert not late or after == min(at + 1, clocks - 1)


@given(st.lists(positive, min_size=1, max_size=60), positive, st.sampled_from([0.05, 0.2, 0.5]))
def test_late_is_a_quantile_above_the_target(values: list[float], target: float, tail: float) -> None:
    late = sum(v > target for v in values)
    if abs(late - tail * len(values)) < 1e-9:  # numpy and we round the count apart
        return
    quantile = float(np.quantile(values, 1.0 - tail, method="inverted_cdf"))
    assert clock_loop.is_late(float(late), float(len(values)), tail) == (quantile > target)


def test_a_backlog_has_the_slack_of_its_oldest_prompt() -> None:
    assert clock_loop.backlog_budget_s(100.0, 400.0, 2.0, 0.5) == 0.25
    assert clock_loop.backlog_budget_s(100.0, 400.0, -2.0, 0.5) == 0.0
    assert clock_loop.backlog_budget_s(100.0, 100.0, math.inf, 0.5) == math.inf


@pytest.mark.skipif(not COMPILED, reason="nothing is compiled in this run")
def test_compiled_policies_decide_as_plain_ones() -> None:
    rng = np.random.default_rng(0)
    fast = {f: kernel(f) for f in (clock.lowest_feasible, clock.least_net, clock.time_w, clock.guard, clock.crowd)}
    fast |= {f: kernel(f) for f in (clock.prompt_budget_s, clock_loop.miad, clock_loop.band_step)}
    fast |= {f: kernel(f) for f in (clock_loop.is_late, clock_loop.backlog_budget_s)}
    for _ in range(200):
        seconds, joules = rng.uniform(0.1, 1.0, 5), rng.uniform(1.0, 2.0, 5)
        a, b, c, d = rng.uniform(0.0, 2.0, 4).tolist()
        calls = {
            clock.lowest_feasible: (seconds, a),
            clock.least_net: (seconds, joules, 1.5 * seconds, a, b, c),
            clock.time_w: (a, b, c),
            clock.guard: (a, b, c, d),
            clock.crowd: (a, b, c, d, 1.0),
            clock.prompt_budget_s: (a, b, c > 1.0, d),
            clock_loop.miad: (1.0 + a, b > 1.0, 1.0 + c, d, 5),
            clock_loop.band_step: (int(2 * a), int(2 * b), c > 1.0, d > 1.0, 5),
            clock_loop.is_late: (a, b, c),
            clock_loop.backlog_budget_s: (a, b, c - 1.0, d),
        }
        for plain, arguments in calls.items():
            assert fast[plain](*arguments) == pytest.approx(plain(*arguments), rel=1e-13), plain.__name__
