"""The cache-aware law: lengths it has not seen, never below zero, honest outside its range."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wattlane.core.errors import FileFormatError, InputError, OutOfRangeError, UnknownNameError
from wattlane.core.files import read_json, write_json
from wattlane.model.check_law import check_law
from wattlane.model.laws.bilinear import fit_bilinear, read_bilinear, write_bilinear
from wattlane.model.laws.cache_aware import fit_cache_aware, read_cache_aware, write_cache_aware
from wattlane.model.observations import Observations
from wattlane.model.request_law import Conformal
from wattlane.model.spread import Spread

GRID = [8.0 * 2**i for i in range(9)]


def no_cache(tin, tout, noise=0.03, seed=0, scale=1.0):
    """Runs of an engine that reruns the whole prefix for every output token, of J per call, per token, per pair."""
    tin, tout = np.asarray(tin, float), np.asarray(tout, float)
    rng = np.random.default_rng(seed)
    context = tin * tout + tout**2 / 2
    square = tin**2 * tout + tin * tout**2 + tout**3 / 3
    energy = scale * (6.0 * tout + 0.04 * context + 4e-6 * square) * np.exp(noise * rng.standard_normal(len(tin)))
    return Observations(tin, tout, energy, energy / 300.0)


def grid_runs(**options):
    tin, tout = (a.ravel() for a in np.meshgrid(GRID, GRID))
    return no_cache(tin, tout, **options)


def sweeps(**options):
    """The 19 points of the separate sweeps: inputs to 2,048 with 32 out, outputs to 4,096 with 32 in."""
    points = [(i, 32.0) for i in GRID] + [(32.0, o) for o in [*GRID, 4096.0]]
    return no_cache([i for i, _ in points], [o for _, o in points], **options)


def apes(fit, table):
    found = [fit.energy_j.mean(i, o) for i, o in zip(table.input_tokens, table.output_tokens, strict=True)]
    return np.abs(np.array(found) / table.energy_j - 1)


@pytest.mark.parametrize("seed", range(5))
def test_w12_the_physics_of_no_cache_holds_on_unseen_sweeps_where_the_published_form_fails(seed):
    table, unseen = grid_runs(seed=seed), sweeps(seed=seed + 100)
    assert apes(fit_bilinear(table, "m"), unseen).mean() >= 0.95
    assert apes(fit_cache_aware(table, "m", kv_cache=False, order=2), unseen).mean() <= 0.15
    assert apes(fit_cache_aware(table, "m", kv_cache=False), unseen).mean() <= 0.105
    middling = apes(fit_bilinear(table, "m", method="relative"), unseen).mean()
    assert 0.15 < middling < 0.95


def test_w12_the_three_terms_find_the_coefficients_behind_the_runs():
    fit = fit_cache_aware(grid_runs(noise=0.0), "m", kv_cache=False)
    assert fit.energy_j.coefficients == pytest.approx((6.0, 0.04, 4e-6), rel=1e-6)
    assert fit.runtime_s.coefficients == pytest.approx((0.02, 0.04 / 300, 4e-6 / 300), rel=1e-6)


def test_w12_a_free_square_of_the_output_takes_half_the_interaction():
    """Without a cache the sum over steps is in·out + out²/2: the two coefficients of a free fit stand 2 to 1."""
    tin, tout = (a.ravel() for a in np.meshgrid(GRID, GRID))
    energy = 6.0 * tout + 0.04 * (tin * tout + tout**2 / 2)
    beta = np.linalg.lstsq(np.column_stack([tin, tout, tin * tout, tout**2]), energy, rcond=None)[0]
    assert beta[3] / beta[2] == pytest.approx(0.5, rel=1e-6)


def test_w12_with_a_cache_the_bilinear_form_fits_vllm_like_runs():
    rng = np.random.default_rng(3)
    tin, tout = rng.integers(10, 200, 1000).astype(float), rng.integers(2, 900, 1000).astype(float)
    energy = (0.0149 * tin + 3.079 * tout + 1.65e-4 * tin * tout) * np.exp(0.03 * rng.standard_normal(1000))
    fit = fit_cache_aware(Observations(tin, tout, energy, tout / 40), "m")
    assert fit.energy_j.terms == ("in", "out", "in_out")
    quality = fit.energy_j.quality
    assert quality.r2_centred >= 0.99
    assert quality.mape <= 0.06


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("method", ["relative", "robust"])
def test_fitted_laws_break_no_law_of_nature(tmp_path: Path, cached, method):
    fit = fit_cache_aware(grid_runs(), "m", kv_cache=cached, order=2, method=method)
    write_cache_aware(fit, tmp_path / "law.json")
    assert check_law(fit, read_cache_aware(tmp_path / "law.json"), [1, 30, 2000], [1, 50, 900]) == []


@pytest.mark.parametrize("order", [2, 3])
def test_file_round_trips_with_terms_method_and_intervals(tmp_path: Path, order):
    fit = replace(
        fit_cache_aware(grid_runs(), "m", kv_cache=False, order=order),
        conformal=Conformal("model", Spread({0.9: 0.2}, 12), Spread()),
    )
    write_cache_aware(fit, tmp_path / "law.json")
    body = read_json(tmp_path / "law.json", "law")
    assert (body["law"], body["kv_cache"], body["method"]) == ("cache_aware", False, "relative")
    assert list(body["energy_j"]) == ["c1", "c2", "c3"][:order]
    assert list(body["runtime_s"]) == ["d1", "d2", "d3"][:order]
    again = read_cache_aware(tmp_path / "law.json")
    assert again.predict(300, 100) == fit.predict(300, 100)
    assert (again.conformal, again.energy_j.quality.mape) == (fit.conformal, fit.energy_j.quality.mape)
    held = again.predict_group(300, 100)
    assert held["energy_j"].hi / held["energy_j"].mean == pytest.approx(math.exp(0.2))
    assert held["runtime_s"].hi == math.inf
    assert fit_bilinear(grid_runs(), "m", method="relative").predict_group(300, 100)["energy_j"].hi == math.inf
    assert math.isnan(again.energy_j.quality.f_statistic)


def test_files_that_do_not_say_which_terms_are_refused(tmp_path: Path):
    body = {"law": "cache_aware", "model": "m", "energy_j": {"c1": 1}, "runtime_s": {"d1": 1, "d2": 2}}
    write_json(tmp_path / "a.json", "law", body)
    with pytest.raises(InputError, match="kv_cache is None"):
        read_cache_aware(tmp_path / "a.json")
    write_json(tmp_path / "b.json", "law", {**body, "kv_cache": False})
    with pytest.raises(InputError, match=r"energy_j\.c2 is None"):
        read_cache_aware(tmp_path / "b.json")
    write_json(tmp_path / "c.json", "law", {**body, "law": "bilinear"})
    with pytest.raises(FileFormatError, match="found law 'bilinear'"):
        read_cache_aware(tmp_path / "c.json")


def test_fits_that_could_go_negative_are_refused():
    with pytest.raises(InputError, match="expected relative or robust"):
        fit_cache_aware(grid_runs(), "m", method="ols")
    with pytest.raises(InputError, match="expected 2 or 3"):
        fit_cache_aware(grid_runs(), "m", kv_cache=False, order=4)
    with pytest.raises(UnknownNameError, match="cubist"):
        fit_bilinear(grid_runs(), "m", method="cubist")
    with pytest.raises(InputError, match="intercept with method relative"):
        fit_bilinear(grid_runs(), "m", method="relative", intercept=True)


def test_interval_of_a_relative_fit_covers_new_runs_as_often_as_it_says():
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(200):
        tin, tout = rng.uniform(10, 2000, 31), rng.uniform(10, 1000, 31)
        y = (0.02 * tin + 3 * tout + 1e-4 * tin * tout) * (1 + 0.1 * rng.standard_normal(31))
        fit = fit_cache_aware(Observations(tin[1:], tout[1:], y[1:], y[1:]), "m").energy_j
        inside += abs(fit.mean(tin[0], tout[0]) - y[0]) <= fit.half_width(tin[0], tout[0], 0.95)
    assert 0.90 <= inside / 200 <= 0.985


def test_intervals_widen_outside_the_range_and_far_above_it_the_law_refuses():
    fit = fit_cache_aware(grid_runs(), "m", kv_cache=False)
    inside, above, below = (fit.predict(*at)["energy_j"] for at in ((512, 2048), (512, 8192), (512, 2)))
    width = {name: (e.hi - e.mean) / e.mean for name, e in (("in", inside), ("up", above), ("down", below))}
    assert not inside.extrapolated
    assert above.extrapolated
    assert below.extrapolated
    assert width["up"] > 2.5 * width["in"]
    assert width["down"] > 2.5 * width["in"]
    with pytest.raises(OutOfRangeError, match=r"asked 10\.3 times above its fitted range"):
        fit.predict(512, 21_000)


def test_a_fit_without_free_rows_has_open_intervals(tmp_path: Path):
    fit = fit_bilinear(grid_runs(), "m", method="relative")
    side = replace(fit.energy_j, rows=2)
    assert side.half_width(10, 10, 0.95) == math.inf
    write_bilinear(fit, tmp_path / "law.json")
    again = read_bilinear(tmp_path / "law.json")
    assert again.energy_j.relative
    assert again.predict(99, 99) == fit.predict(99, 99)
