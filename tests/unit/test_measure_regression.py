"""Designed load and the regression of window energies: what is planned, fitted, told apart and refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from wattlane.core.errors import InputError, MeasurementError
from wattlane.core.types import Boundary, Origin
from wattlane.measure.account import ABSENT, Energy, metered
from wattlane.measure.energy.budget import Budget, Z
from wattlane.measure.meters.simulated import SimulatedMeter
from wattlane.measure.phases.design import SHAPES, SHORT, Capacity, LoadPoint, Shape, design, identifiability
from wattlane.measure.phases.regression import LoadWindow, fit
from wattlane.measure.phases.windows import count_in_windows, window_of

CAPACITY = Capacity(20_000.0, 2_000.0)
PREFILL_J, DECODE_J, STATIC_W = 0.2, 3.0, 90.0
WINDOW_S = 10.0


def window(point: LoadPoint, requests: int, noise_j: float = 0.0, decode_j: float = DECODE_J) -> LoadWindow:
    """Return a window of a server that draws exactly the line, plus noise."""
    prefill, decode = requests * point.shape.input_tokens, requests * (point.shape.output_tokens - 1)
    energy_j = PREFILL_J * prefill + decode_j * decode + STATIC_W * WINDOW_S + noise_j
    return LoadWindow(point.name, WINDOW_S, prefill, decode, energy_j, requests=requests)


def synthetic(seed: int, sigma_j: float = 60.0) -> list[LoadWindow]:
    """Return the windows of the whole default design with Poisson arrivals."""
    rng = np.random.default_rng(seed)
    plan = design(CAPACITY, window_s=WINDOW_S)
    return [window(p, int(rng.poisson(p.requests)), rng.normal(0, sigma_j)) for p, _ in plan.windows(seed)]


def test_a_design_can_tell_the_phases_apart_and_states_by_how_much():
    plan = design(CAPACITY)
    assert len(plan.points) == 9
    assert plan.identifiability.is_identifiable
    assert max(plan.identifiability.vif.values()) < 3
    assert "limit 10" in str(plan.identifiability)
    for point in plan.points:
        load = point.prefill_tokens_per_s / 20_000 + point.decode_tokens_per_s / 2_000
        assert load == pytest.approx(point.utilisation)
    assert plan.window_s == pytest.approx(9 * 3 * 10, rel=0.02)


def test_load_points_are_workloads_that_can_be_driven():
    point = design(CAPACITY).points[0]
    assert point.name == "prompt_heavy@0.25"
    load = point.workload(seed=1)
    assert len(load) == point.requests
    assert set(load.input_tokens) == {512}
    assert set(load.output_tokens) == {2}
    assert load.rate_rps == pytest.approx(point.rate_rps, rel=0.4)


def test_windows_come_shuffled_and_each_with_a_seed_of_its_own():
    plan = design(CAPACITY)
    order = [(point.name, seed) for point, seed in plan.windows(7)]
    assert order == [(point.name, seed) for point, seed in plan.windows(7)]
    assert order != [(point.name, seed) for point, seed in plan.windows(8)]
    assert len({seed for _, seed in order}) == 27
    assert [order.count((p.name, s)) for p, s in plan.windows(7)] == [1] * 27
    assert [name for name, _ in order] != sorted(name for name, _ in order)


def test_a_design_of_one_kind_of_request_is_refused():
    with pytest.raises(InputError, match="cannot be told apart"):
        design(CAPACITY, shapes=[Shape("chat", 100, 50)], utilisations=(0.2, 0.4, 0.6, 0.8))
    with pytest.raises(InputError, match="cannot be told apart"):
        design(CAPACITY, shapes=[Shape("a", 100, 50), Shape("b", 102, 50)])


def test_wrong_designs_are_refused_together():
    with pytest.raises(
        InputError, match=r"prefill_tokens_per_s is 0[\s\S]*shape x[\s\S]*past 1[\s\S]*window_s[\s\S]*repeats"
    ):
        design(Capacity(0, 1), shapes=[Shape("x", 0, 1)], utilisations=(1.2,), window_s=0, repeats=0)
    with pytest.raises(InputError, match="0 shapes"):
        design(CAPACITY, shapes=[])


def test_vif_and_condition_of_known_columns():
    rng = np.random.default_rng(0)
    a, b = rng.normal(5, 1, 400), rng.normal(5, 1, 400)
    b = 0.9 * a + math.sqrt(1 - 0.81) * b
    r2 = np.corrcoef(a, b)[0, 1] ** 2
    found = identifiability(np.column_stack((a, b, np.ones(400))), ("prefill", "decode", "time"))
    assert found.vif["prefill"] == pytest.approx(1 / (1 - r2))
    assert found.vif["prefill"] == pytest.approx(found.vif["decode"])
    assert identifiability(np.eye(2), ("prefill", "decode")).condition == pytest.approx(1)
    same = identifiability(np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]]), ("prefill", "decode"))
    assert same.condition == math.inf
    assert not same.is_identifiable
    assert not identifiability(np.array([[1.0, 0.0], [2.0, 0.0]]), ("prefill", "decode")).is_identifiable


def test_a_line_without_noise_is_recovered_exactly():
    plan = design(CAPACITY, window_s=WINDOW_S)
    found = fit([window(point, point.requests + i) for point in plan.points for i in range(3)])
    means = {term: one.mean for term, one in found.coefficients.items()}
    assert means == pytest.approx({"prefill": PREFILL_J, "decode": DECODE_J, "time": STATIC_W}, rel=1e-6)
    energy_j, lo_j, hi_j = found.energy_j(1000, 100, 10)
    assert lo_j <= energy_j <= hi_j
    assert energy_j == pytest.approx(1000 * PREFILL_J + 100 * DECODE_J + 10 * STATIC_W)


def test_the_intervals_cover_the_truth_as_often_as_they_claim():
    truth = {"prefill": PREFILL_J, "decode": DECODE_J, "time": STATIC_W}
    inside, n = dict.fromkeys(truth, 0), 600
    for seed in range(n):
        found = fit(synthetic(seed), misfit_limit=1.0)
        for term, value in truth.items():
            inside[term] += found.coefficients[term].lo <= value <= found.coefficients[term].hi
    assert 0.93 <= sum(inside.values()) / n / 3 <= 0.97, inside
    assert all(0.92 <= count / n <= 0.98 for count in inside.values()), inside


def test_intervals_from_stated_errors_cover_the_truth_where_errors_differ():
    rng, inside, n = np.random.default_rng(5), 0, 400
    points = design(CAPACITY, window_s=WINDOW_S).points
    for _ in range(n):
        windows = []
        for point in points:
            for _ in range(3):
                se_j = float(rng.choice([10.0, 100.0]))
                windows.append(replace(window(point, point.requests, rng.normal(0, se_j)), energy_se_j=se_j))
        one = fit(windows, misfit_limit=1.0).coefficients["decode"]
        inside += one.lo <= DECODE_J <= one.hi
    assert 0.92 <= inside / n <= 0.98


def test_a_load_on_which_the_phases_move_together_is_refused():
    rng = np.random.default_rng(1)
    shape = Shape("chat", 200, 50)
    windows = []
    for u in (0.2, 0.4, 0.6, 0.8):
        point = LoadPoint(shape, u, u * 10, int(u * 100))
        windows += [window(point, point.requests, rng.normal(0, 5)) for _ in range(4)]
    with pytest.raises(MeasurementError, match=r"not identifiable: the rates of 16 windows move together: VIF.*inf"):
        fit(windows)


def test_too_few_windows_or_points_are_refused():
    windows = synthetic(0)
    with pytest.raises(MeasurementError, match="found 5 windows of"):
        fit(windows[:5])
    one_point = [w for w in windows if w.point == "mixed@0.50"]
    with pytest.raises(MeasurementError, match="found 6 windows of 1 load points"):
        fit(one_point * 2)


def test_a_server_whose_energy_per_token_depends_on_load_is_refused_by_the_fit_test():
    rng = np.random.default_rng(2)
    plan = design(CAPACITY, window_s=WINDOW_S)
    windows = [
        window(point, point.requests, rng.normal(0, 5), decode_j=DECODE_J / point.utilisation**1.5)
        for point, _ in plan.windows(0)
    ]
    with pytest.raises(MeasurementError, match=r"does not fit these windows: lack of fit F.*misfit"):
        fit(windows)


def test_a_small_misfit_is_named_and_widens_the_intervals():
    rng = np.random.default_rng(3)
    plan = design(CAPACITY, window_s=WINDOW_S)
    windows = [
        window(point, point.requests, rng.normal(0, 1), decode_j=DECODE_J * (1.1 - 0.2 * point.utilisation))
        for point, _ in plan.windows(0)
    ]
    bent = fit(windows)
    assert any(note.startswith("misfit: lack of fit F") for note in bent.notes)
    assert bent.dof == 6
    marginal_j = DECODE_J * (1.1 - 2 * 0.2 * 0.5)  # d/du of u · (1.1 − 0.2 u) in the middle of the range
    assert bent.coefficients["decode"].lo < marginal_j < bent.coefficients["decode"].hi
    straight = fit(synthetic(0, sigma_j=1.0))
    assert straight.dof == 24
    assert bent.coefficients["decode"].se > 5 * straight.coefficients["decode"].se


def test_without_repeats_stated_errors_test_the_fit_and_without_either_it_says_so():
    windows = [
        replace(window(point, point.requests, d), energy_se_j=20.0)
        for point, d in zip(design(CAPACITY).points, np.random.default_rng(0).normal(0, 20, 9), strict=True)
    ]
    assert fit(windows).test.name == "residual chi-square"
    liar = [replace(w, energy_se_j=0.01) for w in windows]
    assert fit(liar).test.p_value < 1e-6
    bare = fit([replace(w, energy_se_j=None) for w in windows])
    assert bare.test.p_value is None
    assert any("not tested" in note for note in bare.notes)


def test_a_negative_coefficient_is_reported_and_not_forced_to_zero():
    rng = np.random.default_rng(4)
    points = design(CAPACITY, window_s=WINDOW_S).points
    windows = [
        replace(w, energy_j=w.energy_j - 0.35 * w.prefill_tokens)
        for w in (window(point, point.requests, rng.normal(0, 30)) for point in points * 3)
    ]
    found = fit(windows)
    assert found.coefficients["prefill"].mean == pytest.approx(-0.15, abs=0.01)
    assert any(note.startswith("prefill_negative") for note in found.notes)
    idle = fit([replace(w, energy_j=w.energy_j - STATIC_W * WINDOW_S + rng.normal(0, 30)) for w in synthetic(9, 30)])
    assert any(note.startswith("time_n") for note in idle.notes)


def test_terms_for_requests_and_without_idle_draw():
    rng = np.random.default_rng(1)
    plan = design(CAPACITY, (*SHAPES, SHORT), window_s=WINDOW_S, per_request=True)
    with pytest.raises(InputError, match="VIF of requests"):
        design(CAPACITY, per_request=True)
    drawn = (window(point, point.requests, rng.normal(0, 2)) for point, _ in plan.windows(0))
    windows = [replace(w, energy_j=w.energy_j - STATIC_W * WINDOW_S + 7.0 * w.requests) for w in drawn]
    found = fit(windows, has_idle=False, per_request=True)
    assert found.terms == ("prefill", "decode", "requests")
    assert found.coefficients["requests"].mean == pytest.approx(7.0, abs=0.05)
    assert found.coefficients["decode"].mean == pytest.approx(DECODE_J, rel=0.01)


def test_the_result_states_what_it_rests_on():
    found = fit(synthetic(0), origin=Origin.MODELLED)
    body = found.as_dict()
    assert body["status"] == "modelled"
    assert (body["windows"], body["points"], body["dof"]) == (27, 9, 24)
    assert body["coefficients"]["decode"]["unit"] == "J/token"
    assert body["fit_test"]["name"] == "lack of fit F"
    assert 0 <= body["fit_test"]["p_value"] <= 1
    assert "decode: " in str(found)


def test_windows_that_hold_nonsense_are_refused_together():
    good = synthetic(0)
    bad = [replace(good[0], duration_s=0), replace(good[1], prefill_tokens=-1), replace(good[2], energy_se_j=0)]
    with pytest.raises(InputError, match=r"window 0 lasts 0 s[\s\S]*window 1 holds[\s\S]*window 2 has an error of 0"):
        fit(bad)


def test_truth_is_recovered_from_a_simulated_meter_read_at_its_ticks():
    rng = np.random.default_rng(6)
    plan = design(CAPACITY, window_s=WINDOW_S)
    windows, now = [], {"s": 0.0}
    for point, seed in plan.windows(0):
        load = point.workload(seed)
        prefill, decode = len(load) * point.shape.input_tokens, len(load) * (point.shape.output_tokens - 1)
        watts = STATIC_W + (PREFILL_J * prefill + DECODE_J * decode) / WINDOW_S
        now["s"] = float(rng.uniform(0, 0.1))
        meter = SimulatedMeter.constant(watts, tick_s=0.1, clock=lambda: now["s"])
        readings = []
        for _ in range(int((WINDOW_S + 2) / 0.05)):
            readings.append(meter.read())
            now["s"] += 0.05
        start_s = 1.0 + float(rng.uniform(0, 0.1))
        energy = metered(readings, start_s, start_s + WINDOW_S)
        table = pl.DataFrame(
            {
                "outcome": ["completed"] * len(load),
                "input_tokens": load.input_tokens,
                "cached_tokens": load.cached_tokens,
                "output_tokens": load.output_tokens,
            }
        )
        windows.append(window_of(table, point.name, WINDOW_S, energy))
    found = fit(windows, origin=Origin.MODELLED)
    for term, value in (("prefill", PREFILL_J), ("decode", DECODE_J), ("time", STATIC_W)):
        assert found.coefficients[term].mean == pytest.approx(value, rel=0.02)
        assert found.coefficients[term].lo <= value <= found.coefficients[term].hi


def served(rows: list[dict]) -> pl.DataFrame:
    base = {"outcome": "completed", "cached_tokens": 0, "server_prefill_s": None}
    return pl.DataFrame([base | row for row in rows], schema_overrides={"server_prefill_s": pl.Float64})


def test_tokens_of_a_long_run_fall_into_the_windows_in_which_they_were_computed():
    table = served(
        [
            {"started_s": 0.0, "first_token_s": 2.0, "input_tokens": 100, "output_tokens": 5, "gaps_s": [0.5] * 4},
            {
                "started_s": 0.0,
                "first_token_s": 3.0,
                "server_prefill_s": 1.0,
                "input_tokens": 60,
                "cached_tokens": 20,
                "output_tokens": 3,
                "gaps_s": [0.5],
            },
        ]
    )
    prefill, decode = count_in_windows(table, [0.0, 1.0, 2.5, 10.0])
    assert prefill.tolist() == pytest.approx([50.0, 50.0 + 20.0, 20.0])
    assert decode.tolist() == pytest.approx([0.0, 1.0, 3.0 + 2.0])
    with pytest.raises(InputError, match="ascending"):
        count_in_windows(table, [1.0, 1.0])


def test_the_gain_of_the_meter_scales_every_coefficient_and_is_in_its_interval():
    """One gain in all windows: no residual shows it, and an interval of residuals alone misses the true joules."""
    rng, held, held_without, n = np.random.default_rng(3), 0, 0, 120
    for seed in range(n):
        gain = math.exp(rng.normal(0, 0.025))
        windows = [replace(w, energy_j=gain * w.energy_j) for w in synthetic(seed, sigma_j=5.0)]
        one, bare = fit(windows, gain_sd=0.025), fit(windows)
        held += one.coefficients["decode"].lo <= DECODE_J <= one.coefficients["decode"].hi
        held_without += bare.coefficients["decode"].lo <= DECODE_J <= bare.coefficients["decode"].hi
        assert one.coefficients["decode"].se == bare.coefficients["decode"].se
    assert 0.9 <= held / n <= 0.99
    assert held_without < 0.5 * n
    mean_j, lo_j, hi_j = one.energy_j(decode_tokens=1000.0)
    assert hi_j - lo_j >= 2 * Z * 0.025 * mean_j


def test_windows_with_failures_absent_energy_or_unknown_tokens_are_refused():
    row = {"started_s": 0.0, "first_token_s": 2.0, "input_tokens": 9, "output_tokens": 2, "gaps_s": [0.1]}
    joules = Energy(Budget(5.0, {"tick": 1 / Z}), "x", Boundary.GPU, Origin.MODELLED)
    good = window_of(served([row]), "p", 1.0, joules)
    assert (good.prefill_tokens, good.decode_tokens, good.requests) == (9, 1, 1)
    assert good.energy_se_j == pytest.approx(1 / 1.96, rel=1e-3)
    assert window_of(served([row]), "p", 1.0, replace(joules, budget=Budget(5.0))).energy_se_j is None
    with pytest.raises(MeasurementError, match="energy of the window is absent"):
        window_of(served([row]), "p", 1.0, ABSENT)
    with pytest.raises(MeasurementError, match="1 of 2 requests did not complete"):
        window_of(served([row, row | {"outcome": "timed_out"}]), "p", 1.0, joules)
    with pytest.raises(MeasurementError, match="without usage"):
        window_of(served([row, row | {"output_tokens": None}]), "p", 1.0, joules)
