"""When requests are let through and in which order they come in: the rules on numbers written by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_engine import Law
from sim_scenes import law
from wattlane.model import iteration as it
from wattlane.model.jit import kernel
from wattlane.policy import foresee, order, release

# What would prove them wrong: a release before its arrival; a hold beyond the slack, the deadline or where nothing is
# gained; an hour of more carbon; an order that lets somebody wait for ever.

seconds = st.floats(0.0, 1e5)


@given(seconds, seconds, st.floats(1e-3, 100.0))
def test_spacing_is_kept_and_nobody_is_early(arrival_s: float, last_s: float, spacing_s: float) -> None:
    released_s = release.spaced(arrival_s, last_s, spacing_s)
    assert released_s >= arrival_s
    assert released_s in (arrival_s, last_s + spacing_s)
    assert released_s >= last_s + spacing_s


@given(seconds, st.floats(-1.0, 5.0), seconds, st.floats(0.0, 5.0), st.floats(-10.0, 10.0))
def test_slack_is_the_longest_hold(arrival_s: float, slack_s: float, busy_s: float, gap_s: float, gain: float) -> None:
    held_s = release.slack_aware(arrival_s, slack_s, busy_s, gap_s, gain) - arrival_s
    assert 0.0 <= held_s <= max(slack_s, 0.0) + 1e-9
    if held_s > 0:
        assert gain > 0
        assert gap_s <= slack_s
        assert arrival_s >= busy_s


def test_a_request_is_held_only_where_it_pays() -> None:
    assert release.slack_aware(10.0, 0.5, 9.0, 0.1, 1.0) == 10.5
    assert release.slack_aware(10.0, 0.5, 11.0, 0.1, 1.0) == 10.0  # somebody runs
    assert release.slack_aware(10.0, 0.5, 9.0, 0.6, 1.0) == 10.0  # nobody is expected in time
    assert release.slack_aware(10.0, 0.5, 9.0, math.inf, 1.0) == 10.0
    assert release.slack_aware(10.0, 0.5, 9.0, 0.1, 0.0) == 10.0  # nothing is gained
    assert release.slack_aware(10.0, -0.1, 9.0, -1.0, 1.0) == 10.0  # no slack


def test_a_deadline_is_met_with_its_margin_or_the_request_goes_at_once() -> None:
    assert release.deadline_aware(10.0, 30.0, 5.0, 2.0) == 23.0
    assert release.deadline_aware(10.0, 12.0, 5.0, 0.0) == 10.0


@pytest.mark.parametrize(
    ("arrival_s", "latest_s", "released_s"),
    [
        (1800.0, 1e9, 7200.0),  # the third hour is the cleanest
        (1800.0, 7100.0, 3600.0),  # not reachable: the second is cleaner than the first
        (1800.0, 3500.0, 1800.0),
        (7300.0, 1e9, 7300.0),  # in it already
        (10900.0, 1e9, 6 * 3600.0),  # the third hour of the next day, of four hours
    ],
)
def test_the_cleanest_hour_before_the_deadline_is_waited_for(
    arrival_s: float, latest_s: float, released_s: float
) -> None:
    series = np.array([9.0, 5.0, 1.0, 7.0])
    assert release.lowest_carbon(arrival_s, latest_s, series, 0.0, 3600.0) == released_s


@given(seconds, st.floats(0.0, 1e5), st.lists(st.floats(0.0, 900.0), min_size=1, max_size=8))
def test_carbon_never_rises_nor_is_a_deadline_passed(arrival_s: float, room_s: float, values: list[float]) -> None:
    series = np.array(values)
    at_s = release.lowest_carbon(arrival_s, arrival_s + room_s, series, 0.0, 3600.0)
    assert arrival_s <= at_s <= arrival_s + room_s

    def intensity(t: float) -> float:
        return values[math.floor(t / 3600.0) % len(values)]

    hours = [h * 3600.0 for h in range(math.floor(arrival_s / 3600.0) + 1, 40 + len(values))]
    reachable = [arrival_s, *(h for h in hours if h <= arrival_s + room_s)]
    assert intensity(at_s) == min(intensity(t) for t in reachable)


def test_length_buckets_double() -> None:
    assert [order.bucket(n) for n in (1, 2, 3, 4, 7, 8, 1000, 1024)] == [0, 1, 1, 2, 2, 3, 9, 10]


def test_the_mean_length_of_a_batch_is_nearest_to_itself() -> None:
    distances = [order.kv_distance(kv, 4.0, 400.0) for kv in (40.0, 90.0, 100.0, 130.0)]
    assert distances == [240.0, 40.0, 0.0, 120.0]
    assert order.kv_distance(500.0, 0.0, 0.0) == 0.0


@given(st.lists(st.tuples(seconds, st.floats(0.0, 100.0)), min_size=2, max_size=9), seconds)
def test_the_least_of_latest_starts_is_the_least_laxity_at_any_moment(
    rows: list[tuple[float, float]], now: float
) -> None:
    keys = [order.latest_start_s(due, service) for due, service in rows]
    laxities = [due - now - service for due, service in rows]
    first = int(np.argmin(keys))
    assert laxities[first] == pytest.approx(min(laxities), abs=1e-6)


def test_patience_ends_at_its_moment() -> None:
    assert not order.aged(0.99, 1.0)
    assert order.aged(1.0, 1.0)
    assert order.aged(0.0, 0.0)


@pytest.mark.parametrize("seed", range(20))
def test_service_alone_and_what_two_save_follow_from_the_law(seed: int) -> None:
    rng = np.random.default_rng(seed)
    row = law(rng, experts=bool(seed % 2), clipped=seed % 3 == 0)
    plain, idle_w = Law(row), float(row[it.IDLE_W])
    budget, p, o = int(rng.integers(5, 200)), float(rng.integers(1, 400)), float(rng.integers(1, 50))
    n = math.ceil(p / budget)
    first_s = n * plain.seconds([p / n, p * (p + 1) / 2 / n, 0.0, 0.0])
    whole_s = first_s + (o - 1) * plain.seconds([0.0, 0.0, 1.0, p + o / 2])
    assert foresee.service(row, budget, p, o) == pytest.approx((first_s, whole_s))
    wanted = 0.0
    for times, x in ((1.0, [p, p * (p + 1) / 2, 0.0, 0.0]), (o - 1, [0.0, 0.0, 1.0, p + o / 2])):
        both = [2 * value for value in x]
        saved_s = 2 * plain.seconds(x) - plain.seconds(both)
        wanted += times * (2 * float(plain.joules(x)) - float(plain.joules(both)) - idle_w * saved_s)
    assert foresee.gain_j(row, p, o) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_compiled_rules_decide_as_the_plain_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, c, d = (float(v) for v in rng.uniform(0, 20_000, 4))
    series = rng.uniform(0, 500, 5)
    for rule, arguments in (
        (release.spaced, (a, b, c)),
        (release.slack_aware, (a, b / 1e4, c, d / 1e4, 1.0)),
        (release.deadline_aware, (a, b, c, d)),
        (release.lowest_carbon, (a, a + b, series, 0.0, 3600.0)),
        (order.aged, (a, b)),
        (order.bucket, (int(a) + 1,)),
        (order.kv_distance, (a, 3.0, b)),
        (order.latest_start_s, (a, b)),
    ):
        assert kernel(rule)(*arguments) == rule(*arguments)
