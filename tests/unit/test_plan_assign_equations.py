"""Each equation of the assignment has a golden LP file; HiGHS reads it and finds the optimum that the dual finds."""

from __future__ import annotations

import importlib.util
import pkgutil
from pathlib import Path

import numpy as np
import pytest

from wattlane.plan.assign import equations
from wattlane.plan.assign.lp import lp_text
from wattlane.plan.assign.solve import solve

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
SPEC = importlib.util.spec_from_file_location("make_assign_goldens", ROOT / "tools" / "make_assign_goldens.py")
assert SPEC is not None
assert SPEC.loader is not None
goldens = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(goldens)
NAMES = goldens.equation_names()


def test_every_equation_file_is_in_a_table_and_has_a_golden_program():
    files = {module.name for module in pkgutil.iter_modules(equations.__path__)} - {"equation"}
    assert files == {name.replace("-", "_") for name in NAMES}
    assert {path.stem.removeprefix("assign-") for path in GOLDEN.glob("assign-*.lp")} == set(NAMES)
    assert set(goldens.ASKED) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_program_is_the_golden_one(name):
    assert lp_text(goldens.golden_problem(name)) == (GOLDEN / f"assign-{name}.lp").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_highs_solves_the_golden_program_to_the_same_optimum(name):
    import highspy

    model = highspy.Highs()
    model.setOptionValue("output_flag", False)
    model.setOptionValue("mip_rel_gap", 0.0)
    model.readModel(str(GOLDEN / f"assign-{name}.lp"))
    model.run()
    found = solve(goldens.golden_problem(name))
    assert found.objective == pytest.approx(model.getInfo().objective_function_value, rel=1e-8)
    assert found.bound <= found.objective + 1e-9 * abs(found.objective)


@pytest.mark.parametrize("name", NAMES)
def test_the_equation_is_in_its_program_and_says_its_formula(name):
    problem = goldens.golden_problem(name)
    known = {e.name: e for e in (*equations.OBJECTIVES.values(), *equations.CONSTRAINTS, *equations.ADMISSIONS)}
    assert len(known[name].formula) > 10
    if name in {e.name for e in equations.CONSTRAINTS}:
        assert {row.equation for row in problem.rows} == {name}
    if name in {e.name for e in equations.ADMISSIONS}:
        assert not np.isfinite(problem.cost).all()
