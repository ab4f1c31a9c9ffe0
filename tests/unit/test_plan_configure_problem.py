"""The configuration problem: its equations, its bound, its optimum against every plan there is."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from configure_scenes import brute_force, small_problem
from hypothesis import given, settings
from hypothesis import strategies as st

from wattlane.core.errors import InfeasibleError, InputError
from wattlane.plan.configure import bound, equations, relax, relaxation
from wattlane.plan.configure import solve as solving
from wattlane.plan.configure.bound import Prices
from wattlane.plan.configure.evaluate import cost, starts, violations, wakes
from wattlane.plan.configure.problem import Problem
from wattlane.plan.configure.prune import undominated

ROOT = Path(__file__).resolve().parents[2]


def solved(problem: Problem, by_bins: bool, monkeypatch: pytest.MonkeyPatch, gap: float = 1e-9) -> solving.Found | None:
    monkeypatch.setattr(solving, "WHOLE_COLUMNS", 0 if by_bins else 10**9)
    try:
        return solving.solve(problem, gap=gap)
    except InfeasibleError:
        return None


def equals_brute_force(seeds: range, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in seeds:
        problem = small_problem(seed, capped=seed % 3 == 0)
        best = brute_force(problem)
        found = solved(problem, False, monkeypatch)
        if found is None:
            assert best == np.inf
            continue
        assert found.cost.total == pytest.approx(best, rel=1e-7), seed
        assert found.bound <= best * (1 + 1e-9)
        assert not list(violations(problem, found.counts))


def test_s6_the_plan_equals_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    equals_brute_force(range(25), monkeypatch)


@pytest.mark.slow
def test_s6_the_plan_equals_brute_force_on_two_hundred_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    equals_brute_force(range(25, 200), monkeypatch)


def test_bin_by_bin_the_plan_is_feasible_and_its_bound_below_the_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    gaps = []
    for seed in range(24):
        problem = small_problem(seed, capped=seed % 3 == 0)
        best, found = brute_force(problem), solved(problem, True, monkeypatch)
        if found is None:
            continue
        assert not list(violations(problem, found.counts))
        assert found.bound <= best * (1 + 1e-9)
        assert found.cost.total >= best * (1 - 1e-9)
        gaps.append(found.cost.total / best - 1)
    assert len(gaps) > 15
    assert np.mean(np.array(gaps) < 1e-6) > 0.8


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 12), scale=st.floats(0.0, 3.0), draw=st.integers(0, 2**31))
def test_the_bound_holds_whatever_the_prices(seed: int, scale: float, draw: int) -> None:
    problem = small_problem(seed, capped=seed % 2 == 0)
    best = brute_force(problem)
    rng, bins, gpus = np.random.default_rng(draw), problem.bins, len(problem.gpu_count)
    prices = Prices(
        rng.uniform(-1, 1, (bins, gpus)) * 1e4 * scale,
        rng.uniform(-1, 1, bins) * 50 * scale,
        rng.uniform(-0.2, 1.2, problem.start_cost.shape) * problem.start_cost * scale,
        rng.uniform(-0.2, 1.2, problem.wake_cost.shape) * problem.wake_cost * scale,
    )
    assert bound.lower_bound(problem, prices) <= best * (1 + 1e-9)


def test_the_relaxations_prices_give_at_least_its_bound() -> None:
    for seed in range(10):
        problem = small_problem(seed)
        linear, prices = relaxation.relaxed(problem)
        if linear.objective > 0:
            assert bound.lower_bound(problem, prices) >= (linear.objective + problem.parked_cost) * (1 - 1e-6)


def test_pruning_keeps_the_optimum() -> None:
    for seed in range(15):
        problem = small_problem(seed)
        kept = undominated(problem.modes)
        assert brute_force(replace(problem, modes=problem.modes.take(kept))) == pytest.approx(brute_force(problem))


def test_a_mode_that_serves_no_more_for_more_watts_is_dropped() -> None:
    problem = small_problem(1)
    twice = replace(
        problem.modes.take(np.array([0, 0, 0])), power_w=np.array([300.0, 200.0, 250.0]), rate_per_s=np.array([2, 2, 3])
    )
    assert undominated(twice).tolist() == [1, 2]


def test_s6_the_optimum_is_neither_the_lowest_power_nor_the_fastest() -> None:
    problem = small_problem(1, bins=1)
    modes = problem.modes.take(np.array([0, 0, 0]))
    # slow and frugal, in between, fast and hungry; four requests per second are asked
    modes = replace(modes, rate_per_s=np.array([1.0, 4.0, 9.0]), power_w=np.array([300.0, 600.0, 1500.0]))
    asked = replace(problem, modes=modes, demand_per_s=np.array([[4.0, 0.0]]), start_j=np.zeros(3), wake_j=np.zeros(2))
    assert solving.solve(asked, gap=0.0).counts.tolist() == [[0, 1, 0]]


def test_starts_and_wakes_count_only_what_is_more_than_before() -> None:
    problem = small_problem(3)
    counts = np.array([[1, 0, 2, 0], [0, 1, 2, 1]])
    running = problem.shapes_running(counts)
    assert (starts(problem, counts)[1] == np.maximum(running[1] - running[0], 0)).all()
    assert (wakes(problem, counts)[0] == np.maximum(problem.gpus_used(counts)[0] - problem.used_before, 0)).all()
    spent = cost(problem, counts)
    assert spent.total == pytest.approx(spent.run + spent.start + spent.wake + spent.parked)


def test_every_broken_constraint_is_named() -> None:
    problem = replace(small_problem(0), cap_w=np.full(2, 900.0))
    none = "\n".join(violations(problem, np.zeros((2, 4), np.int64)))
    assert "pool 0: serves 0 of" in none
    many = "\n".join(violations(problem, np.full((2, 4), 9)))
    assert "GPU type 0: uses" in many
    assert "W above the cap of 900 W" in many
    assert "expected (2, 4)" in next(violations(problem, np.zeros((1, 4), np.int64)))
    assert "not whole" in next(violations(problem, np.full((2, 4), 0.5)))  # type: ignore[arg-type]
    assert any("expected at least 0" in words for words in violations(problem, np.full((2, 4), -1)))


def test_all_faults_of_a_problem_are_reported_at_once() -> None:
    problem = small_problem(0)
    with pytest.raises(InputError) as caught:
        replace(
            problem,
            bin_s=0.0,
            demand_per_s=-problem.demand_per_s,
            parked_w=np.array([1.0]),
            cap_w=np.array([np.nan, 1.0]),
            modes=replace(problem.modes, rate_per_s=np.zeros(4), pool=np.array([0, 1, 2, 3])),
        )
    for words in ("bin_s is 0.0", "demand_per_s holds", "parked_w has shape", "cap_w holds", "rate_per_s", "index"):
        assert words in str(caught.value)
    with pytest.raises(InputError, match="different numbers of GPUs"):
        replace(problem, modes=replace(problem.modes, shape=np.zeros(4, np.int64), gpus=np.array([1, 2, 1, 1])))


def test_what_does_not_fit_is_said_in_gpus_and_in_watts(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = small_problem(4)
    tight = replace(problem, demand_per_s=problem.demand_per_s * 5 + 20.0)
    for by_bins in (False, True):
        assert solved(tight, by_bins, monkeypatch) is None
    words = relax.shortage(tight, ["H100", "A100"])
    assert "short of" in words
    assert "H100" in words or "A100" in words
    capped = replace(problem, cap_w=np.full(2, float(problem.gpu_count @ problem.parked_w) + 1.0))
    assert solved(capped, False, monkeypatch) is None
    assert "the cap is" in relax.shortage(capped, ["H100", "A100"])
    assert "by itself" in relax.shortage(problem, ["H100", "A100"])


def goldens() -> ModuleType:
    spec = importlib.util.spec_from_file_location("goldens", ROOT / "tools" / "make_configure_goldens.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_equation_has_its_golden_lp(tmp_path: Path) -> None:
    goldens().write(tmp_path)
    written = {path.name for path in tmp_path.glob("*.lp")}
    kept = {path.name for path in (ROOT / "tests" / "golden").glob("configure_*.lp")}
    wanted = {f"configure_{name}.lp" for name in (*equations.BLOCKS, *equations.LINKS, "whole")}
    assert written == kept == wanted
    for name in wanted:
        assert (tmp_path / name).read_text() == (ROOT / "tests" / "golden" / name).read_text(), name


def test_each_file_of_equations_is_used() -> None:
    files = {path.stem for path in Path(str(equations.__file__)).parent.glob("*.py")} - {"__init__"}
    assert files == {*equations.BLOCKS, *equations.LINKS}
