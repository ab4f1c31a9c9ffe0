"""Stated intervals against the truth of simulated cards: a subset in every run, all of it where slow tests run."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "card_suite.py"


@pytest.fixture(scope="module")
def suite():
    found = importlib.util.spec_from_file_location("card_suite", SCRIPT)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_intervals_hold_the_truth_at_the_stated_rate_over_all_cards_and_loads(suite):
    *cells, pooled = suite.coverage(seeds=20)
    assert len(cells) == 25
    assert pooled["trials"] == 500
    assert 0.93 <= pooled["coverage"] <= 0.97
    assert pooled["coverage_without_gain"] >= 0.93
    assert all(cell["width_over_oracle"] <= 1.5 for cell in cells)


def test_aligned_windows_err_by_at_most_a_quarter_of_a_plain_counter_difference(suite):
    assert all(errors["ratio"] <= 0.25 for errors in suite.alignment(seeds=20).values())


def test_loads_in_step_with_the_sensor_are_flagged_and_the_bound_holds_them(suite):
    found = suite.aliasing(seeds=20)
    assert found["period"] == {"flagged": 1.0, "coverage": 1.0}
    assert found["average"]["flagged"] >= 0.8
    assert found["average"]["coverage"] >= 0.93
    assert found["not in step"]["flagged"] <= 0.1


@pytest.mark.slow
def test_every_load_and_length_is_covered_and_narrow_over_hundreds_of_cards(suite):
    *cells, pooled = suite.coverage(seeds=400)
    # A cell of 400 draws has a standard deviation of 1.1 %; one is missed where 93 % is excluded. More: the benchmark.
    missed = [(c["load"], c["length_s"], c["coverage"]) for c in cells if c["coverage"] < 0.93 - 2 * 0.011]
    assert missed == []
    assert min(cell["coverage_without_gain"] for cell in cells) >= 0.93
    assert 0.93 <= pooled["coverage"] <= 0.97
    assert max(cell["width_over_oracle"] for cell in cells) <= 1.5
    assert all(errors["ratio"] <= 0.25 for errors in suite.alignment(seeds=300).values())
