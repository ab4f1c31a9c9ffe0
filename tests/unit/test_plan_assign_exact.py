"""Assignments equal the best of all plans, on small random instances of every kind, and HiGHS on larger ones."""

from __future__ import annotations

import numpy as np
import pytest

from assign_cases import brute_force, cost, random_targets, random_workload
from wattlane.core.errors import InfeasibleError
from wattlane.plan.assign.ask import OBJECTIVES, Ask
from wattlane.plan.assign.build import build
from wattlane.plan.assign.kinds import Kinds, merge
from wattlane.plan.assign.oracle import solve_exactly
from wattlane.plan.assign.problem import Problem, Row
from wattlane.plan.assign.run import assign
from wattlane.plan.assign.solve import solve
from wattlane.plan.assign.values import Case

COUNTED = ("free", "ceiling", "floor", "published floor", "min_accuracy", "deadline")
WEIGHED = ("gpu_hours", "capacity", "finish", "energy_cap", "quality_floor")


def ask_of(kind: str, rng: np.random.Generator, n: int):
    """Return an ask and its counts as least and most requests by target."""
    common = {
        "objective": str(rng.choice(OBJECTIVES)),
        "zeta": float(rng.choice([0.0, 0.3, 0.5, 1.0])),
        "normalisation": str(rng.choice(["min-max", "max"])),
    }
    shares = rng.dirichlet([2, 2, 2]) * (1.3 if kind == "ceiling" else 1.0)
    shares = tuple(np.clip(shares, 0.02, 1.0 if kind == "ceiling" else 0.8).tolist())
    if kind in ("floor", "published floor"):
        factor = 1.0 if kind == "floor" else 0.25
        shares = tuple(np.array(shares) / max(1.0, sum(shares)))
        least = [max(1, int(np.floor(factor * g * n + 1e-9))) for g in shares]
        return Ask(**common, shares=shares, share_kind="floor", share_factor=factor), (least, np.inf)
    if kind == "ceiling":
        return Ask(**common, shares=shares), (0, [max(1, int(np.ceil(g * n - 1e-9))) for g in shares])
    limits = {
        "free": {},
        "min_accuracy": {"min_accuracy": float(rng.choice([0.5, 0.6, 0.7]))},
        "deadline": {"deadline_s": float(rng.uniform(5, 120))},
        "gpu_hours": {"gpu_hours": tuple(rng.uniform(0.001, 0.2, 3).tolist())},
        "finish": {"finish_s": float(rng.uniform(10, 300))},
        "energy_cap": {"energy_cap_j": float(rng.uniform(0.3, 0.9) * n * 9e3)},
        "quality_floor": {"quality_floor": float(rng.uniform(0.5, 0.7))},
        "capacity": {"shares": shares, "share_kind": "capacity", "gpu_hours_total": float(rng.uniform(0.05, 0.5))},
    }[kind]
    return Ask(**common, **limits), (0, np.inf)


def check_kind(kind: str, instances: int) -> tuple[int, int]:
    rng = np.random.default_rng(7)
    feasible = 0
    for _ in range(instances):
        targets, w = random_targets(rng), random_workload(rng)
        ask, counts = ask_of(kind, rng, len(w))
        told = ask
        if kind == "capacity":
            told = Ask(**{**ask.as_dict(), "shares": None, "gpu_hours_total": None, "share_kind": "ceiling"})
            told = Ask(**{**told.as_dict(), "gpu_hours": [g * ask.gpu_hours_total for g in ask.shares]})
        expected = brute_force(targets, w, told, counts)
        if expected is None:
            with pytest.raises(InfeasibleError):
                solve(build(Case(targets, merge(w)), ask))
            continue
        feasible += 1
        problem = build(Case(targets, merge(w)), ask)
        found = solve(problem)
        scale = np.abs(cost(targets, w, ask)).sum()
        assert found.objective == pytest.approx(expected, abs=1e-9 * scale)
        assert found.bound <= expected + 1e-9 * scale
        assert found.status == "optimal"
        assert found.x.sum(axis=0).tolist() == problem.requests.tolist()
        if kind in COUNTED:
            assert found.bound == pytest.approx(expected, abs=1e-9 * scale)
    return feasible, instances - feasible


@pytest.mark.parametrize("kind", COUNTED + WEIGHED)
def test_first_instances_equal_brute_force(kind):
    assert sum(check_kind(kind, 8)) == 8


@pytest.mark.slow
@pytest.mark.parametrize("kind", COUNTED)
def test_w7_equals_brute_force_where_requests_are_counted(kind):
    feasible, _ = check_kind(kind, 200)
    assert feasible >= 50


@pytest.mark.slow
@pytest.mark.parametrize("kind", WEIGHED)
def test_equals_brute_force_where_rows_weigh_requests(kind):
    feasible, infeasible = check_kind(kind, 200)
    assert feasible >= 50
    assert infeasible >= 1


def big_problem(rng: np.random.Generator, rows) -> Problem:
    m = 900
    requests = rng.integers(1, 30, m)
    return Problem(rng.normal(size=(3, m)), requests, rows(m, int(requests.sum())), ("a", "b", "c"))


def counted(m: int, n: int) -> tuple[Row, ...]:
    return (
        Row("u0", "share_ceiling", {0: 1.0}, "<=", float(n // 5), "requests"),
        Row("l1", "share_floor", {1: 1.0}, ">=", float(n // 2), "requests"),
        Row("u2", "share_ceiling", {2: 1.0}, "<=", float(n // 3), "requests"),
    )


def test_w7_relaxation_is_integral_where_shares_are_counts():
    problem = big_problem(np.random.default_rng(1), counted)
    relaxed = solve_exactly(problem, integral=False)
    assert np.abs(relaxed.x - np.rint(relaxed.x)).max() < 1e-9
    found = solve(problem)
    assert found.objective == pytest.approx(relaxed.value, rel=1e-9)
    assert found.bound == pytest.approx(relaxed.value, rel=1e-9)


@pytest.mark.slow
def test_large_plans_with_weighing_rows_are_whole_and_nearly_at_their_bound():
    rng = np.random.default_rng(2)
    m = 6000

    requests, weight = rng.integers(1, 9, m), rng.uniform(0.1, 1.0, (3, m))
    rows = (
        *(Row(f"g{k}", "gpu_hours", {k: weight[k]}, "<=", float(0.25 * weight[k] @ requests), "h") for k in (0, 1)),
        Row("e", "energy_cap", dict(enumerate(weight)), "<=", float(0.8 * weight.mean(axis=0) @ requests), "J"),
    )
    problem = Problem(rng.normal(size=(3, m)), requests, rows, ("a", "b", "c"))
    found = solve(problem)
    relaxed = solve_exactly(problem, integral=False)
    assert found.bound == pytest.approx(relaxed.value, rel=1e-8)
    assert all(row.load(found.x) <= row.bound * (1 + 1e-9) for row in rows)
    assert 0 <= found.objective - relaxed.value <= 1e-5 * abs(relaxed.value)


def test_merged_and_unmerged_plans_are_equal():
    rng = np.random.default_rng(3)
    targets = random_targets(rng)
    from assign_cases import workload

    w = workload(rng.choice([30, 200, 900], 400), rng.choice([20, 300], 400))
    ask = Ask(shares=(0.2, 0.3, 0.6))
    merged, single = assign(w, targets, ask), assign(merge(w, merged=False), targets, ask)
    assert len(merged.case.kinds) == 6
    assert len(single.case.kinds) == 400
    assert merged.solution.objective == pytest.approx(single.solution.objective, rel=1e-12)


def test_prices_of_a_similar_problem_save_work_and_change_nothing():
    problem = big_problem(np.random.default_rng(4), counted)
    first = solve(problem)
    moved = Problem(problem.cost * np.array([[1.01], [1.0], [1.0]]), problem.requests, problem.rows, problem.targets)
    assert solve(moved, first.prices).objective == pytest.approx(solve(moved).objective, rel=1e-12)


def test_no_price_of_a_limit_bounds_a_plan_from_above_its_optimum():
    rng = np.random.default_rng(5)
    problem = big_problem(rng, counted)
    from wattlane.plan.assign.lagrangian import evaluate

    best = solve(problem).objective
    signs = np.array([row.sign for row in problem.rows])
    for _ in range(50):
        assert evaluate(problem, signs * rng.exponential(1.0, 3)).value <= best + 1e-9 * abs(best)


def test_kinds_of_equal_requests_keep_their_limits_apart():
    from assign_cases import workload

    w = workload([10, 10, 10, 10], [5, 5, 5, 5])
    kinds = merge(w, min_accuracy=np.array([0.5, 0.5, 0.6, 0.6]), deadline_s=np.array([1.0, 2.0, 2.0, 2.0]))
    assert isinstance(kinds, Kinds)
    assert sorted(kinds.requests.tolist()) == [1, 1, 2]
    assert kinds.of_request is not None
    assert kinds.min_accuracy[kinds.of_request].tolist() == [0.5, 0.5, 0.6, 0.6]
    assert kinds.deadline_s[kinds.of_request].tolist() == [1.0, 2.0, 2.0, 2.0]


def test_a_problem_keeps_what_it_does_not_admit_out_of_the_plan():
    rng = np.random.default_rng(6)
    targets, w = random_targets(rng), random_workload(rng)
    problem = build(Case(targets, merge(w)), Ask(min_accuracy=max(t.accuracy for t in targets)))
    plan = solve(problem)
    assert np.isfinite(problem.cost[plan.x > 0]).all()


def test_floors_of_more_models_than_requests_say_which_floor_to_drop():
    from assign_cases import workload

    rng = np.random.default_rng(8)
    with pytest.raises(InfeasibleError, match=r"1 requests → 0 \(1 fewer\)"):
        assign(workload([5, 9], [3, 4]), random_targets(rng), Ask(shares=(0.3, 0.3, 0.4), share_kind="floor"))


@pytest.mark.slow
def test_a_million_requests_are_planned_whole_with_a_gap_of_rounding_error():
    from assign_cases import published_targets
    from wattlane.core.workload import Workload
    from wattlane.workload.lengths.shape import shape

    drawn = shape(np.random.default_rng(0), 1_000_000, name="azure-conv")
    kinds = merge(Workload(np.zeros(1_000_000), drawn.input_tokens, drawn.output_tokens))
    problem = build(Case(published_targets(), kinds), Ask(zeta=0.5, shares=(0.05, 0.2, 0.75)))
    found = solve(problem)
    assert found.gap <= 1e-6
    assert found.x.sum(axis=1).tolist() == [50_000, 200_000, 750_000]
    assert (found.x.sum(axis=0) == kinds.requests).all()


def test_lengths_too_large_for_one_key_merge_all_the_same():
    from assign_cases import workload

    kinds = merge(workload([2**40, 2**40, 7], [2**41, 2**41, 9]))
    assert sorted(kinds.requests.tolist()) == [1, 2]
    assert sorted(kinds.output_tokens.tolist()) == [9, 2**41]
