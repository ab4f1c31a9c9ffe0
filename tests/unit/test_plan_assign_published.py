"""Checks W6 to W11 on the published scheduler: printed numbers, baselines, the released rule, the online versions."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assign_cases import law, published_targets, workload
from wattlane.core.errors import InputError, OutOfRangeError, UnknownNameError
from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.baselines import at_random, baselines, round_robin, single
from wattlane.plan.assign.build import build
from wattlane.plan.assign.frontier import frontier
from wattlane.plan.assign.kinds import Kinds, merge
from wattlane.plan.assign.online import fleet, route
from wattlane.plan.assign.run import assign
from wattlane.plan.assign.shares import PUBLISHED_FLOOR_FACTOR, rounded, rounding
from wattlane.plan.assign.solve import relative_gap, solve
from wattlane.plan.assign.targets import Target, accuracy_table, known_accuracy
from wattlane.plan.assign.threshold import sweep
from wattlane.plan.assign.totals import totals
from wattlane.plan.assign.values import Case, warnings
from wattlane.policy.online import cheapest, md1_wait_s, queue_aware
from wattlane.policy.threshold import LARGE, SMALL, by_both, by_length

J_PER_KWH = 3.6e6
SHARES = (0.05, 0.2, 0.75)
ALPACA = {"requests": 52_002, "tin": 1_125_669, "tout": 8_460_614, "product": 160_504_458}


def short_requests(n: int, seed: int = 0):
    """Lengths like those of instruction data: means about 18 in and 176 out."""
    rng = np.random.default_rng(seed)
    return workload(1 + rng.geometric(1 / 17, n), 1 + rng.geometric(1 / 175, n))


def published_ask(zeta: float) -> Ask:
    return Ask(zeta=zeta, shares=SHARES, share_kind="floor", share_factor=PUBLISHED_FLOOR_FACTOR)


def alpaca() -> Kinds:
    """Requests with exactly the four sums of the published workload, all that a total of a bilinear law depends on."""
    rows = [(1, 1238, 999), (1, 1371, 1), (22, 141, 18_796), (23, 141, 1_007), (22, 142, 29_581), (23, 142, 1_618)]
    kinds = Kinds(*(np.array(column) for column in zip(*rows, strict=True)))
    assert kinds.sums(kinds.requests).tolist() == list(ALPACA.values())
    return kinds


def test_w6_accuracy_is_the_score_times_the_tokens():
    w = workload([10], [20])
    case = Case((replace(published_targets()[0], accuracy=0.5097),), merge(w))
    assert case.accuracy().tolist() == [[15.291]]
    assert known_accuracy("Mixtral-8x7B") == 0.6847
    assert len(accuracy_table()) == 7
    with pytest.raises(UnknownNameError, match="Llama-2-7B"):
        known_accuracy("Llama-2-7")


def test_w7_floors_are_a_quarter_of_the_shares_as_published_and_never_below_one():
    assert rounded(SHARES, 200, "floor", PUBLISHED_FLOOR_FACTOR) == [2, 10, 37]
    assert rounded(SHARES, 10, "floor", PUBLISHED_FLOOR_FACTOR) == [1, 1, 1]
    assert rounded(SHARES, 10, "floor") == [1, 2, 7]
    assert rounded(SHARES, 10, "ceiling") == [1, 2, 8]
    assert rounded((0.07,), 100, "ceiling") == rounded((0.07,), 100, "floor") == [7]
    assert rounding(Ask(shares=(0.125,), share_kind="ceiling"), 10) == [{"share": 0.125, "exact": 1.25, "count": 2}]
    assert rounding(Ask(), 10) == []


@given(st.lists(st.integers(1, 97), min_size=2, max_size=5), st.integers(5, 10**7))
def test_ceilings_round_up_floors_round_down_and_both_leave_room(parts, requests):
    shares = [part / sum(parts) for part in parts]
    ceilings, floors = rounded(shares, requests, "ceiling"), rounded(shares, requests, "floor")
    assert sum(ceilings) >= requests
    for share, up, down in zip(shares, ceilings, floors, strict=True):
        assert 1 <= down <= up
        assert down == 1 or down <= share * requests * (1 + 1e-8)
        assert up >= share * requests * (1 - 1e-8)
        assert up - share * requests < 1 or up == 1


def test_w7_ten_thousand_queries_and_three_models_are_planned_at_once():
    plan = assign(short_requests(10_000), published_targets(), published_ask(0.5))
    assert plan.solution.gap <= 1e-9
    assert plan.seconds < 30
    assert sum(plan.counts.values()) == 10_000


@pytest.mark.parametrize("share_kind", ["floor", "ceiling"])
def test_w7_energy_and_accuracy_never_rise_with_zeta(share_kind):
    factor = PUBLISHED_FLOOR_FACTOR if share_kind == "floor" else 1.6
    shares = tuple(min(1.0, g * factor) for g in SHARES) if share_kind == "ceiling" else SHARES
    ask = Ask(shares=shares, share_kind=share_kind, share_factor=factor if share_kind == "floor" else 1.0)
    case = Case(published_targets(), merge(short_requests(200)))
    points = frontier(case, ask, [i / 20 for i in range(21)])
    energy, accuracy = [p.totals.energy_j for p in points], [p.totals.accuracy for p in points]
    assert all(b <= a * (1 + 1e-9) for a, b in pairwise(energy))
    assert all(b <= a * (1 + 1e-9) for a, b in pairwise(accuracy))
    assert energy[-1] < energy[0]
    assert not all(p.dominated for p in points)
    assert points[0].as_dict()["zeta"] == 0.0


def test_runtime_version_sweeps_energy_against_runtime_and_refuses_plain_objectives():
    case = Case(published_targets(), merge(short_requests(60)))
    points = frontier(case, Ask("energy-runtime"), [0.0, 0.5, 1.0])
    assert points[-1].totals.energy_j <= points[0].totals.energy_j
    assert points[-1].totals.mean_runtime_s >= points[0].totals.mean_runtime_s
    with pytest.raises(InputError, match="objective is joules"):
        frontier(case, Ask("joules"))


def test_w7_the_released_rule_counts_right_and_places_at_random():
    case, ask = Case(published_targets(), merge(short_requests(200))), published_ask(1.0)
    problem = build(case, ask)
    best = solve(problem)
    released = {b.name: b for b in baselines(case, problem)}["count only"]
    assert released.broken == ()
    assert released.x.sum(axis=1).tolist() == best.x.sum(axis=1).tolist()
    gap = relative_gap(released.objective, best.objective)
    assert gap > 0.5
    assert released.totals.energy_j > 1.5 * totals(case, best.x).energy_j


def test_the_released_rule_has_no_answer_where_single_requests_have_limits():
    case = Case(published_targets(), merge(short_requests(20)))
    names = [b.name for b in baselines(case, build(case, Ask(min_accuracy=0.6)))]
    assert "count only" not in names
    tight = Ask(shares=(0.3, 0.3, 0.3))
    assert "count only" not in [b.name for b in baselines(case, build(case, tight))]


def test_w8_single_models_reach_the_printed_energies_and_runtimes():
    kinds, targets = alpaca(), published_targets()
    case = Case(targets, kinds)
    printed = [(74.770, 13.701), (132.753, 23.397), (985.157, 115.374)]
    for k, (kwh, mean_s) in enumerate(printed):
        found = totals(case, single(kinds, 3, k))
        assert found.energy_j / J_PER_KWH == pytest.approx(kwh, abs=1e-3)
        assert found.mean_runtime_s == pytest.approx(mean_s, abs=1e-3)
        assert found.accuracy == pytest.approx(targets[k].accuracy, abs=1e-12)


def test_w8_round_robin_and_random_deal_out_every_request():
    w = short_requests(1000)
    kinds = merge(w)
    dealt = round_robin(kinds, 3)
    assert dealt.sum(axis=1).tolist() == [334, 333, 333]
    assert dealt.sum(axis=0).tolist() == kinds.requests.tolist()
    own = np.zeros_like(dealt)
    for i, kind in enumerate(kinds.of_request):
        own[i % 3, kind] += 1
    assert (own == dealt).all()
    first, again = (at_random(kinds, 3, np.random.default_rng(1)) for _ in range(2))
    assert (first == again).all()
    assert first.sum(axis=0).tolist() == kinds.requests.tolist()
    assert abs(first.sum(axis=1) - 1000 / 3).max() < 60


def test_w9_waits_and_fleets_are_the_printed_ones():
    assert md1_wait_s(0.5, 1.0) == 0.5
    assert md1_wait_s(1.0, 1.0) == np.inf
    assert fleet(SHARES, 16_000, (1, 1, 4)) == (800, 3200, 3000)


def test_w9_queue_awareness_cuts_the_wait():
    rng = np.random.default_rng(3)
    w = short_requests(4000)
    w = type(w)(np.cumsum(rng.exponential(1 / 5.2, 4000)), w.input_tokens, w.output_tokens)
    targets = tuple(replace(t, instances=n) for t, n in zip(published_targets(), (40, 160, 150), strict=True))
    unaware, aware = (route(w, targets, 1.0, aware=aware) for aware in (False, True))
    assert (unaware.targets == 0).all()
    assert unaware.mean_wait_s > 10
    assert aware.mean_wait_s < unaware.mean_wait_s / 10
    assert aware.totals.energy_j > unaware.totals.energy_j
    assert (route(w, targets, 1.0, aware=True).wait_s == aware.wait_s).all()


def test_w9_a_long_fifo_waits_as_the_formula_says():
    rng = np.random.default_rng(5)
    n = 40_000
    w = workload(np.full(n, 100), np.full(n, 10))
    w = type(w)(np.cumsum(rng.exponential(2.0, n)), w.input_tokens, w.output_tokens)
    one = Target("one", law("one", (0.0, 1.0, 0.0), (0.0, 0.12, 0.0)), 0.5, instances=1)
    assert route(w, (one,), 1.0, aware=False).mean_wait_s == pytest.approx(md1_wait_s(0.5, 1.2), rel=0.05)


def test_w9_targets_without_instances_are_refused():
    with pytest.raises(InputError, match="instances"):
        route(short_requests(3), published_targets(), 0.5, aware=True)


@pytest.mark.slow
def test_w9_policies_decide_alike_compiled_and_not():
    from wattlane.model.jit import kernel

    compiled, aware = kernel(cheapest), kernel(queue_aware)
    rng = np.random.default_rng(0)
    for _ in range(50):
        cost, running, waiting = rng.normal(size=3), rng.normal(size=3), rng.integers(0, 9, 3).astype(float)
        assert compiled(cost, running, 0.5) == cheapest(cost, running, 0.5) == int(np.argmin(cost + 0.5 * running))
        expected = int(np.argmin(cost + 0.5 * running + 0.1 * waiting))
        assert aware(cost, running, 0.5, waiting, 0.1) == queue_aware(cost, running, 0.5, waiting, 0.1) == expected


def crossing_at_32() -> tuple[Target, Target]:
    """The small system costs 1 J a token, the large one 32.5 J a request and is six times as fast."""
    small = law("small", (1.0, 0.0, 0.0), (0.06, 0.0, 0.0))
    large = law("large", (0.0, 0.0, 0.0), (0.01, 0.0, 0.0), intercept=32.5)
    return Target("small", small, 0.5), Target("large", large, 0.5)


@pytest.mark.parametrize("measure", ["input", "product"])
def test_w10_the_threshold_is_where_the_systems_cross(measure):
    kinds = merge(workload(np.repeat([1, 8, 32, 33, 64, 500], 5), np.ones(30, int)))
    case = Case(crossing_at_32(), kinds)
    found = sweep(case, measure)
    assert found.best == 32
    assert found.energy_j[0] == pytest.approx(totals(case, single(kinds, 2, 1)).energy_j)
    assert found.energy_j[-1] == pytest.approx(totals(case, single(kinds, 2, 0)).energy_j)
    assert found.mean_runtime_s[-1] == pytest.approx(6 * found.mean_runtime_s[0])
    assert 0 < found.saving_fraction < 1
    best = solve(build(case, Ask("joules")))
    assert found.energy_j.min() == pytest.approx(best.objective)


def test_w10_thresholds_send_short_requests_to_the_small_system():
    assert [by_length(tokens, 32) for tokens in (1, 32, 33)] == [SMALL, SMALL, LARGE]
    assert by_length(1, 0) == LARGE
    assert [by_both(i, o, 32, 16) for i, o in ((32, 16), (33, 16), (32, 17))] == [SMALL, LARGE, LARGE]


def test_w10_sweeps_need_two_systems_and_a_known_measure():
    case = Case(published_targets(), merge(short_requests(5)))
    with pytest.raises(InputError, match="expected 2"):
        sweep(case)
    with pytest.raises(UnknownNameError, match="product"):
        sweep(Case(case.targets[:2], case.kinds), "bytes")


def test_w11_negative_energies_and_lengths_out_of_range_are_flagged_clamped_or_refused():
    case = Case(published_targets(), merge(workload([2048, 100, 4000], [8, 100, 100])))
    flagged = warnings(case)
    assert flagged[0] == (
        "Llama-2-7B: a negative energy_j by its law for 1 of 3 requests, -7025 at 2048 input and 8 output tokens"
    )
    assert "Llama-2-7B: 1 of 3 requests lie outside the range of its law" in flagged
    clamped = replace(case, negative="clamp")
    assert clamped.predicted("energy_j").min() == 0.0
    assert any("taken as 0" in line for line in warnings(clamped))
    with pytest.raises(OutOfRangeError, match="expected at least 0 everywhere"):
        warnings(replace(case, negative="refuse"))
    x = single(case.kinds, 3, 0)
    assert totals(clamped, x).energy_j == pytest.approx((clamped.predicted("energy_j") * x).sum())
    assert totals(clamped, x).energy_j > totals(case, x).energy_j
    boundless = tuple(replace(t, law=replace(t.law, range={})) for t in case.targets)
    assert not any("outside" in line for line in warnings(replace(case, targets=boundless)))
