"""Parts of the assignment: what is refused, relaxed, explained, read from a stream, and solved at size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assign_cases import law, lengths, published_targets, workload
from wattlane.core.errors import InfeasibleError, InputError, UnknownNameError
from wattlane.model.laws.bilinear import write_bilinear
from wattlane.plan.assign import dual, flow, rounding
from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.build import build
from wattlane.plan.assign.certify import certify
from wattlane.plan.assign.elastic import slack
from wattlane.plan.assign.explain import explain
from wattlane.plan.assign.hats import hat
from wattlane.plan.assign.kinds import merge
from wattlane.plan.assign.oracle import solve_exactly
from wattlane.plan.assign.problem import Problem, Row
from wattlane.plan.assign.run import assign
from wattlane.plan.assign.solve import relative_gap, solve
from wattlane.plan.assign.targets import Target, TargetSpec, read_targets
from wattlane.plan.assign.values import Case

# --- what is refused ---------------------------------------------------------------------------------------------


def test_every_problem_of_an_ask_is_named_with_value_and_expectation():
    ask = Ask(
        "power", 1.5, "mean", (0.5, 0.0, 2.0), "roof", -1.0, float("nan"), (1.0,), 0.0, -5.0, 2.0, -0.1, 0.0, "hide"
    )
    said = "\n".join(ask.problems(3))
    for words in (
        "objective is 'power'", "normalisation is 'mean'", "share_kind is 'roof'", "negative is 'hide'", "zeta is 1.5",
        "shares[1] is 0", "shares[2] is 2", "gpu_hours has 1 values; expected 3", "gpu_hours_total is nan",
        "finish_s is 0", "energy_cap_j is -5", "quality_floor is 2", "min_accuracy is -0.1", "deadline_s is 0",
        "share_factor is -1",
    ):  # fmt: skip
        assert words in said, words


def test_contradictory_shares_are_refused():
    assert "sum to 1.5; expected at most 1" in Ask(shares=(0.5, 1.0), share_kind="floor").problems(2)[0]
    assert "gpu_hours_total is not given" in Ask(shares=(0.5, 0.5), share_kind="capacity").problems(2)[0]
    assert "without shares as capacities" in Ask(gpu_hours_total=3.0).problems(2)[0]
    with pytest.raises(InputError, match="zeta is 3"):
        Ask(zeta=3.0).check(2)
    with pytest.raises(InputError, match="zeta is 3"):
        build(Case(published_targets(), merge(lengths(3))), Ask(zeta=3.0))


def test_what_the_targets_do_not_say_is_asked_for_all_at_once():
    targets = tuple(replace(t, accuracy=None) for t in published_targets())
    case = Case(targets, merge(lengths(4)))
    with pytest.raises(InputError) as error:
        build(case, Ask("money", finish_s=3.0, quality_floor=0.5, min_accuracy=0.2))
    for words in ("no price of", "instances of", "accuracy of"):
        assert words in str(error.value)
    with pytest.raises(InputError, match="no carbon intensity"):
        build(case, Ask("carbon"))


def test_limits_of_requests_are_checked_against_the_requests():
    with pytest.raises(InputError, match="min_accuracy has 1 values") as error:
        merge(lengths(3), min_accuracy=np.array([0.5]), deadline_s=np.array([1.0, 0.0, np.nan]))
    assert "deadline_s is 0 at request 1" in str(error.value)


def test_normalisations_that_cannot_be_are_refused():
    with pytest.raises(UnknownNameError, match="min-max"):
        hat(np.ones((1, 1)), "mean")
    with pytest.raises(InputError, match="expected one above 0"):
        hat(-np.ones((1, 2)), "max")
    assert hat(np.ones((2, 2)), "min-max")(np.ones((2, 2))).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_targets_of_one_model_are_told_apart_by_file_or_name(tmp_path: Path):
    for name in ("a100", "h100"):
        write_bilinear(law("llama", (1.0, 1.0, 0.0), (1.0, 1.0, 0.0)), tmp_path / f"{name}.json")
    files = [str(tmp_path / "a100.json"), str(tmp_path / "h100.json")]
    spec = TargetSpec(files, needs_accuracy=False)
    assert [t.name for t in read_targets(spec)] == ["llama@a100", "llama@h100"]
    named = TargetSpec([f"x={files[0]}", f"y={files[1]}"], needs_accuracy=False)
    assert [t.name for t in read_targets(named)] == ["x", "y"]
    with pytest.raises(InputError, match="targets x occur more than once"):
        read_targets(TargetSpec([f"x={files[0]}", f"x={files[1]}"], needs_accuracy=False))
    with pytest.raises(InputError, match="found no law file"):
        read_targets(TargetSpec([]))
    with pytest.raises(InputError, match="gpus has 1 values; expected 2"):
        read_targets(TargetSpec(files, gpus=(1,), needs_accuracy=False))


def test_cache_aware_laws_are_targets_and_laws_of_other_things_are_not(tmp_path: Path):
    from wattlane.model.laws.cache_aware import CacheAwareFit, write_cache_aware
    from wattlane.model.laws.constant import Constant, write_constant
    from wattlane.model.request_law import Side

    terms = ("out", "context")
    covariance = np.diag([1e-4, 1e-10])
    energy = Side((2.0, 1e-3), None, covariance, 0.1, 30, terms=terms, relative=True)
    write_cache_aware(
        CacheAwareFit("m", energy, Side((0.01, 1e-5), terms=terms), {}, {}, "relative", False), tmp_path / "m.json"
    )
    (target,) = read_targets(TargetSpec([str(tmp_path / "m.json")], (0.5,)))
    w = workload([100, 30], [20, 60])
    plan = assign(w, (target, replace(target, name="other")), Ask("joules"))
    expected = [2.0 * o + 1e-3 * (i * o + o**2 / 2) for i, o in ((100, 20), (30, 60))]
    assert plan.totals.energy_j == pytest.approx(sum(expected))
    assert plan.solution.objective == pytest.approx(sum(expected))
    plan.write(tmp_path / "plan.json")
    assert certify(tmp_path / "plan.json").holds
    assert explain(tmp_path / "plan.json").sigma_j > 0
    write_constant(Constant(0.86), tmp_path / "c.json")
    with pytest.raises(InputError, match="found law 'constant'; expected one of whole requests"):
        read_targets(TargetSpec([str(tmp_path / "c.json")], (0.5,)))


# --- infeasible, in words ----------------------------------------------------------------------------------------


def relaxed(problem: Problem, share: float) -> Problem:
    rows = tuple(
        Row(r.name, r.equation, r.columns, r.sense, r.bound + r.sign * share * s, r.unit)
        for r, s in zip(problem.rows, slack(problem), strict=True)
    )
    return Problem(problem.cost, problem.requests, rows, problem.targets)


@pytest.mark.parametrize(
    "ask",
    [
        Ask("joules", gpu_hours=(0.01, 0.02, 0.05)),
        Ask("joules", energy_cap_j=3e4),
        Ask("joules", energy_cap_j=3e5, quality_floor=0.6),
        Ask(shares=(0.2, 0.3, 0.3)),
    ],
)
def test_the_smallest_relaxation_is_enough_and_less_is_not(ask):
    case = Case(published_targets(), merge(lengths(15)))
    problem = build(case, ask)
    assert slack(problem).any()
    assert solve_exactly(relaxed(problem, 1.0 + 1e-6), integral=False).x is not None
    assert solve_exactly(relaxed(problem, 0.99), integral=False).infeasible
    with pytest.raises(InfeasibleError, match=r"The smallest relaxation that does:\n  - \w+"):
        assign(case.kinds, case.targets, ask)


def test_a_problem_that_is_feasible_needs_no_relaxation():
    problem = build(Case(published_targets(), merge(lengths(60))), Ask("joules", energy_cap_j=1e9))
    assert not slack(problem).any()


def test_a_quality_floor_out_of_reach_says_how_far_to_lower_it():
    with pytest.raises(InfeasibleError, match=r"lower the mean score asked for by 0\.0548"):
        assign(lengths(50), published_targets(), Ask("joules", quality_floor=0.7))


def test_requests_without_a_target_are_counted_and_both_ways_out_are_named():
    w = lengths(30)
    with pytest.raises(InfeasibleError, match="deadline_s of at least") as error:
        assign(w, published_targets(), Ask(deadline_s=5.0))
    assert "of 30 requests have no target" in str(error.value)
    needed = float(str(error.value).rpartition("at least ")[2].split()[0])
    assert assign(w, published_targets(), Ask(deadline_s=needed)).solution.status == "optimal"
    with pytest.raises(InfeasibleError, match=r"min_accuracy of at most 0\.6452"):
        assign(w, published_targets(), Ask(min_accuracy=0.9))
    both = Ask(min_accuracy=0.9, deadline_s=1.0)
    with pytest.raises(InfeasibleError, match=r"deadline_s of at least .* and min_accuracy of at most 0\.5097"):
        assign(w, published_targets(), both)


def test_limits_too_tight_for_whole_requests_are_said_to_be():
    # one request of 1 J or 3 J under a budget of 2 J in the mean of two: only a half of a request would fit
    targets = (
        Target("a", law("a", (0.0, 1.0, 0.0), (0.0, 1.0, 0.0)), 0.5),
        Target("b", law("b", (0.0, 3.0, 0.0), (0.0, 1.0, 0.0)), 0.9),
    )
    ask = Ask("joules", energy_cap_j=2.0, quality_floor=0.7)
    with pytest.raises(InfeasibleError, match="no plan of whole requests was found, though a fractional one exists"):
        assign(workload([1], [1]), targets, ask)


def test_counting_rows_and_refused_pairs_can_be_infeasible_together():
    cost = np.array([[0.0, 0.0, 0.0], [np.inf, np.inf, 1.0]])
    rows = (Row("share_ceiling[a]", "share_ceiling", {0: 1.0}, "<=", 1.0, "requests"),)
    problem = Problem(cost, np.ones(3, np.int64), rows, ("a", "b"))
    with pytest.raises(InfeasibleError):
        solve(problem)
    assert slack(problem).tolist() == [1.0]


# --- size: sampled prices, parts of a plan -----------------------------------------------------------------------


@pytest.mark.parametrize(("share_kind", "factor"), [("ceiling", 1.0), ("floor", 0.25)])
def test_many_kinds_are_solved_from_a_sample_and_proved_on_all(monkeypatch, share_kind, factor):
    monkeypatch.setattr(dual, "SAMPLE", 64)
    monkeypatch.setattr(dual, "CONTESTED", 64)
    monkeypatch.setattr(flow, "NEAR", 2)
    case = Case(published_targets(), merge(lengths(4000), merged=False))
    problem = build(case, Ask(shares=(0.05, 0.2, 0.75), share_kind=share_kind, share_factor=factor))
    found = solve(problem)
    expected = solve_exactly(problem, integral=False)
    assert found.objective == pytest.approx(expected.value, rel=1e-9)
    assert found.bound == pytest.approx(expected.value, rel=1e-9)


def test_counts_fit_from_prices_that_are_far_off(monkeypatch):
    monkeypatch.setattr(flow, "NEAR", 2)
    problem = build(Case(published_targets(), merge(lengths(300))), Ask(shares=(0.2, 0.3, 0.5)))
    found = flow.round_counts(problem, np.zeros(3))
    assert problem.objective(found.x) == pytest.approx(solve(problem).objective, rel=1e-12)


def test_a_plan_of_the_solver_that_breaks_a_row_is_not_returned(monkeypatch):
    case = Case(published_targets(), merge(lengths(5)))
    problem = build(case, Ask("joules", gpu_hours=(1e-3, 9.0, 9.0)))
    everything_first = rounding.Placed(np.vstack([problem.requests, np.zeros((2, 5), np.int64)]), None)
    monkeypatch.setattr("wattlane.plan.assign.solve.round_rows", lambda *_: everything_first)
    with pytest.raises(InfeasibleError, match="the solver's plan breaks"):
        solve(problem)


def test_large_plans_leave_a_part_to_branch_and_bound(monkeypatch):
    monkeypatch.setattr(rounding, "EXACT_PAIRS", 10)
    monkeypatch.setattr(rounding, "OPEN", 4)
    case = Case(published_targets(), merge(lengths(400)))
    total = assign(case.kinds, case.targets, Ask("joules")).totals.gpu_hours
    problem = build(case, Ask("joules", gpu_hours=(0.5 * total, 0.5 * total, 9 * total)))
    found = solve(problem)
    assert found.solver_bound is None
    assert found.status in ("optimal", "feasible")
    assert all(row.load(found.x) <= row.bound * (1 + 1e-9) for row in problem.rows)
    assert found.gap < 1e-3
    tight = build(case, Ask("joules", gpu_hours=(0.3 * total, 0.3 * total, 1e-6)))
    with pytest.raises(InfeasibleError):
        solve(tight)


def test_steep_prices_are_found_beyond_the_first_box():
    # a nearly weightless row makes its price large: the box has to widen, and the problem is feasible all along
    weight = np.full(40, 1e-7)
    weight[0] = 1.0
    cost = np.array([np.full(40, -5.0), np.zeros(40)])
    rows = (Row("gpu_hours[a]", "gpu_hours", {0: weight}, "<=", 2e-6, "GPU-hours"),)
    problem = Problem(cost, np.ones(40, np.int64), rows, ("a", "b"))
    found = solve(problem)
    assert found.objective == -100.0
    assert found.bound == pytest.approx(-100.0, rel=1e-6)


def test_a_gap_is_relative_and_never_below_zero():
    assert relative_gap(10.0, 10.5) == 0.0
    assert relative_gap(10.0, 9.0) == 0.1
    assert relative_gap(0.0, -1.0) == float("inf")


# --- explained ---------------------------------------------------------------------------------------------------


def uncertain(spread: float) -> tuple[Target, ...]:
    def one(k: int, joules: float, score: float) -> Target:
        covariance = np.diag([0.0, (spread * joules) ** 2, 0.0])
        sides = {"covariance": covariance, "residual_sd": 1.0, "rows": 50}
        return Target(f"t{k}", law(f"m{k}", (0.0, joules, 0.0), (0.0, 0.01, 0.0), **sides), score, instances=1)

    return one(0, 1.0, 0.5), one(1, 1.2, 0.5)


@pytest.mark.parametrize(("spread", "verdict"), [(0.01, "saving"), (0.3, "tie")])
def test_a_saving_within_the_error_of_the_laws_is_a_tie(tmp_path, spread, verdict):
    plan = assign(lengths(100), uncertain(spread), Ask("joules"))
    plan.write(tmp_path / "plan.json")
    said = explain(tmp_path / "plan.json")
    by_name = {saving.baseline: saving for saving in said.savings}
    assert by_name["all on t1"].verdict == verdict
    assert by_name["all on t1"].saving_fraction == pytest.approx(1 - 1 / 1.2)
    assert by_name["all on t0"].verdict == "tie"
    outputs = float(plan.case.kinds.output_tokens @ plan.case.kinds.requests)
    assert said.sigma_j == pytest.approx(spread * outputs)
    assert said.as_dict()["energy_j_plus_one_sigma"] == pytest.approx(outputs * (1 + spread))
    assert "nothing: every request has its best target" in "\n".join(said.lines())


def test_more_energy_than_a_baseline_is_said_to_be(tmp_path):
    plan = assign(lengths(100), uncertain(0.01), Ask("joules", shares=(0.5, 0.6)))
    plan.write(tmp_path / "plan.json")
    verdicts = {saving.baseline: saving.verdict for saving in explain(tmp_path / "plan.json").savings}
    assert verdicts["all on t0"] == "more energy"


def test_prices_are_said_in_the_unit_of_the_objective_and_more_requests_are_foreseen(tmp_path):
    free = assign(lengths(16), published_targets(instances=1), Ask("joules")).totals
    ask = Ask("joules", gpu_hours=(0.5 * free.gpu_hours, 9.0, 9.0))
    plan = assign(lengths(16), published_targets(), ask)
    plan.write(tmp_path / "other.json")
    assert (tmp_path / "other-assignment.parquet").is_file()
    said = explain(tmp_path / "other.json")
    assert len(said.binding) == 1
    assert said.binding[0].startswith("gpu_hours[Llama-2-7B]: one more GPU-hour of Llama-2-7B would save about")
    assert said.binding[0].endswith(" J")
    assert said.if_more[0].startswith("gpu_hours[Llama-2-7B] is short by")
    assert "with 1.5 times the requests" in "\n".join(said.lines())


def test_a_price_is_what_one_step_of_its_bound_saves():
    w, ask = lengths(300), Ask("joules", shares=(0.3, 0.5, 0.5))
    plan = assign(w, published_targets(), ask)
    price = plan.solution.prices[0]
    more = replace(ask, shares=(0.3 + 1 / 300, 0.5, 0.5))
    saved = plan.solution.objective - assign(w, published_targets(), more).solution.objective
    assert price == pytest.approx(saved, rel=0.05)


def test_runtime_objective_prices_compare_with_joules_at_the_same_runtime(tmp_path):
    plan = assign(lengths(60), published_targets(), Ask("energy-runtime", shares=(0.3, 0.5, 0.5)))
    assert "at the same runtime" in "\n".join(plan.lines())
    alone = assign(lengths(60), published_targets(), Ask(zeta=0.0, shares=(0.6, 0.6, 0.3)))
    assert "as much as" not in "\n".join(alone.lines())
