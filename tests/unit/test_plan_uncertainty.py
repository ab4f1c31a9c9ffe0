"""A saving is charged over one horizon; its draws depend on nothing but seed and number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tiny_study import deployment, requests, scenario
from wattlane.core.types import Slo
from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.plan.scenario import saving
from wattlane.plan.uncertainty import SOURCES, Draws, one_draw, paired_draws
from wattlane.sim import fleet
from wattlane.study.summary import verdict

SLOW = replace(deployment(), clock_hz=840e6)


def test_energy_of_a_score_is_the_ledgers_over_the_same_horizon() -> None:
    case = scenario()
    for d in (deployment(), replace(deployment(), replicas=3), replace(SLOW, release_window_s=0.1)):
        score, run = case.score(d), case.replay(d)
        for end_s in (score.last_end_s, score.last_end_s + 100.0):
            account = fleet.ledger(run, end_s)
            assert score.energy_j(end_s) == pytest.approx(account.metered_j, rel=1e-9)
            assert account.balanced(1e-9)


def test_energy_of_a_score_grows_by_the_idle_watts_of_all_replicas() -> None:
    score = scenario().score(replace(deployment(), replicas=2))
    later = [score.energy_j(score.last_end_s + s) for s in (0.0, 10.0, 20.0)]
    assert later[1] - later[0] == pytest.approx(2 * score.idle_w * 10.0)
    assert later[2] - later[1] == pytest.approx(2 * score.idle_w * 10.0)


def test_both_sides_of_a_saving_are_charged_to_the_later_last_token() -> None:
    case = scenario()
    fast, slow = case.score(deployment()), case.score(replace(deployment(), clock_hz=690e6))
    assert slow.last_end_s > fast.last_end_s
    ledgers = [fleet.ledger(case.replay(s.deployment), slow.last_end_s).metered_j for s in (fast, slow)]
    assert saving(fast, slow) == pytest.approx(1 - ledgers[1] / ledgers[0], rel=1e-9)
    assert saving(slow, slow) == 0.0


def test_a_power_cap_lowers_the_limit_of_the_law_and_never_raises_it() -> None:
    case = scenario()
    assert case.law(replace(deployment(), power_cap_w=300.0))[it.LIMIT_W] == 300.0
    assert case.law(replace(deployment(), power_cap_w=2000.0))[it.LIMIT_W] == case.law(deployment())[it.LIMIT_W]


def test_a_score_of_nothing_but_refusals_has_no_busy_energy() -> None:
    score = scenario(Workload([0.0], [5_000_000], [10]), Slo()).score(deployment())
    assert (score.refused, score.attainment, score.busy_j, score.mean_batch, score.ttft_p99_s) == (
        1,
        0.0,
        0.0,
        0.0,
        0.0,
    )


def test_draws_do_not_depend_on_order_or_on_what_is_known() -> None:
    case, both = scenario(requests(60)), [deployment(), SLOW]
    whole = paired_draws(case, both, 6, seed=5)
    rows = {n: one_draw(case, both, 5, n) for n in (4, 1, 0)}
    told: list[int] = []
    resumed = paired_draws(case, both, 6, 5, rows, lambda n, _row: told.append(n))
    assert told == [2, 3, 5]
    for name in ("energy_j", "attainment", "savings", "inputs"):
        assert np.array_equal(getattr(whole, name), getattr(resumed, name))
    more = paired_draws(case, both, 8, 5)
    assert np.array_equal(more.savings[:6], whole.savings)
    other = paired_draws(case, both, 6, 6)
    assert not np.array_equal(other.savings, whole.savings)


def test_savings_of_draws_are_paired() -> None:
    case = scenario(requests(60))
    draws = paired_draws(case, [deployment(), SLOW, deployment()], 20, seed=5)
    assert draws.savings.shape == (20, 2)
    assert np.all(draws.savings[:, 1] == 0.0)  # the same deployment under the same draw
    assert draws.savings[:, 0].std() < draws.energy_j[:, 0].std() / draws.energy_j[:, 0].mean()


def test_a_plan_identical_to_its_baseline_shows_no_saving() -> None:
    draws = paired_draws(scenario(requests(40)), [deployment(), deployment()], 20, seed=1)
    assert draws.interval(0) == (0.0, 0.0)
    assert verdict(draws.interval(0)) == "no saving shown"
    assert draws.parts(0) == {}


def test_an_interval_that_touches_zero_is_no_saving() -> None:
    assert verdict((1e-9, 0.2)) == "saving"
    assert verdict((0.0, 0.2)) == verdict((-0.3, -0.1)) == "no saving shown"


def test_parts_tell_what_the_spread_comes_from() -> None:
    draws = paired_draws(scenario(requests(120)), [deployment(), SLOW], 60, seed=2)
    parts = draws.parts(0)
    assert set(parts) == {*SOURCES, "other"}
    assert all(share >= 0.0 for share in parts.values())
    assert 0.99 <= sum(parts.values()) < 1.3
    # the clock's effect is a prior: it decides most of what a saving by clock may be
    assert parts["clock voltage"] + parts["clocked share"] > 0.3


def test_intervals_and_kept_share_by_hand() -> None:
    n = 101
    savings = np.linspace(0.0, 1.0, n).reshape(-1, 1)
    attained = np.stack([np.full(n, 0.99), np.where(np.arange(n) < 20, 0.9, 1.0)], axis=1)
    draws = Draws(np.ones((n, 2)), attained, savings, np.ones((n, len(SOURCES))))
    assert draws.interval(0) == pytest.approx((0.025, 0.975))
    assert draws.attainment_interval(1) == pytest.approx((0.9, 1.0))
    assert draws.kept_share(0, 0.99) == 1.0
    assert draws.kept_share(1, 0.99) == pytest.approx(81 / 101)
    # sources that never vary explain nothing
    assert draws.parts(0) == {**dict.fromkeys(SOURCES, 0.0), "other": 1.0}
