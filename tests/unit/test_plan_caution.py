"""A plan's chance constraint: kept in 95 % of draws of law and arrivals, given up as soon as it cannot be."""

from __future__ import annotations

import pytest

import tiny_study as tiny
from wattlane.core.types import Slo
from wattlane.plan import caution
from wattlane.plan.search import Search


def test_a_roomy_deployment_keeps_its_slo_under_draws() -> None:
    assert caution.keeps_under_draws(tiny.scenario(), tiny.deployment(replicas=4, budget=512))


def test_a_target_met_only_at_the_best_estimate_is_not_enough() -> None:
    at = tiny.deployment()
    reached = tiny.scenario().score(at)
    edge = Slo(reached.ttft_p99_s, 1.0, 0.99)  # about 1 % of the requests miss it at the best estimate
    case = tiny.scenario(slo=edge)
    assert case.score(at).attainment >= 0.98
    assert not caution.keeps_under_draws(case, at)


def test_a_failing_deployment_is_given_up_early(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def always_misses(_scenario: object, _deployment: object, number: int) -> bool:
        asked.append(number)
        return True

    monkeypatch.setattr(caution, "misses", always_misses)
    assert not caution.keeps_under_draws(tiny.scenario(), tiny.deployment())
    assert len(asked) <= caution.MOST_MISSES + caution.BATCH


def test_draws_of_the_constraint_are_the_same_every_time() -> None:
    case, at = tiny.scenario(slo=Slo(0.12, 0.05, 0.95)), tiny.deployment()
    first = [caution.misses(case, at, n) for n in range(12)]
    assert first == [caution.misses(case, at, n) for n in range(12)]


def test_a_found_plan_keeps_its_slo_in_nearly_all_independent_draws() -> None:
    from wattlane.plan.uncertainty import paired_draws

    case = tiny.scenario(slo=Slo(0.3, 0.05, 0.95))
    baseline = case.score(tiny.deployment(replicas=2, seqs=256, budget=8192))
    plan = Search(case, baseline, tiny.space()).run().best
    draws = paired_draws(case, [baseline.deployment, plan.deployment], 60, seed=11)
    assert draws.kept_share(1, case.slo.attainment) >= 0.85  # 95 % asked of 60 draws, checked on 60 others
