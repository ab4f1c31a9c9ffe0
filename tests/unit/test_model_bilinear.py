"""The bilinear law: fitted like an independent program fits it, honest about what it cannot describe."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from wattlane.cli.app import run
from wattlane.core.errors import FileFormatError, InputError, OutOfRangeError, UnknownNameError
from wattlane.core.files import write_json
from wattlane.model.fitting import Ask
from wattlane.model.laws.bilinear import BilinearFit, Side, design, fit_bilinear, read_bilinear, write_bilinear
from wattlane.model.observations import Observations, read_observations

# As printed in table 5.2 of Wilkins' thesis, to six digits from his released router: (a0, a1, a2), (b0, b1, b2).
PUBLISHED = {
    "Llama-2 7B": ((-3.894991, 31.522735, 0.042712), (-0.010021, 0.083515, 0.000107)),
    "Llama-2 13B": ((-6.794323, 56.008311, 0.072861), (-0.017357, 0.142605, 0.000185)),
    "Llama-2 70B": ((-12.0294, 414.8197, 0.3145), (-0.031204, 0.703173, 0.000533)),
}
GRID = [8.0 * 2**i for i in range(9)]
GRID_RANGE = {"input_tokens": (8.0, 2048.0), "output_tokens": (8.0, 2048.0)}


def published(name: str) -> BilinearFit:
    energy, runtime = PUBLISHED[name]
    return BilinearFit(name, Side(energy), Side(runtime), GRID_RANGE)


def runs(seed: int = 0, noise: float = 0.02, rows: int = 60) -> Observations:
    """Synthetic runs of a cached engine: positive coefficients, relative noise."""
    rng = np.random.default_rng(seed)
    tin, tout = rng.integers(8, 2049, rows).astype(float), rng.integers(8, 1025, rows).astype(float)
    energy = (0.015 * tin + 3.0 * tout + 1.6e-4 * tin * tout) * np.exp(noise * rng.standard_normal(rows))
    runtime = (1e-4 * tin + 0.02 * tout + 1e-6 * tin * tout) * np.exp(noise * rng.standard_normal(rows))
    return Observations(tin, tout, energy, runtime)


@pytest.mark.slow  # importing statsmodels takes seconds
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("name", ["energy_j", "runtime_s"])
def test_fit_agrees_with_statsmodels(name: str, intercept: bool) -> None:
    api = pytest.importorskip("statsmodels.api")
    table = runs(noise=0.3)
    x = design(table.input_tokens, table.output_tokens, intercept)
    y = getattr(table, name)
    oracle = api.OLS(y, x, hasconst=intercept).fit()
    side = getattr(fit_bilinear(table, "m", intercept=intercept), name)
    assert side.beta == pytest.approx(oracle.params, rel=1e-9)
    assert side.covariance == pytest.approx(oracle.cov_params(), rel=1e-9)
    assert side.residual_sd == pytest.approx(math.sqrt(oracle.mse_resid), rel=1e-9)
    quality = side.quality
    stated = quality.r2_centred if intercept else quality.r2_uncentred
    assert stated == pytest.approx(oracle.rsquared, rel=1e-9)
    assert quality.f_statistic == pytest.approx(oracle.fvalue, rel=1e-9)
    press = oracle.get_influence().resid_press
    assert quality.q2 == pytest.approx(1 - (press**2).sum() / ((y - y.mean()) ** 2).sum(), rel=1e-9)
    at = design([300.0], [200.0], intercept)
    frame = oracle.get_prediction(at).summary_frame(alpha=0.05)
    estimate = fit_bilinear(table, "m", intercept=intercept).predict(300, 200)[name]
    assert estimate.mean == pytest.approx(frame["mean"][0], rel=1e-9)
    assert estimate.hi == pytest.approx(frame["obs_ci_upper"][0], rel=1e-9)
    assert estimate.lo == pytest.approx(max(frame["obs_ci_lower"][0], 0.0), rel=1e-9)


def test_fit_recovers_the_law_behind_the_runs_and_its_errors() -> None:
    fit = fit_bilinear(runs(), "m")
    assert fit.energy_j.coefficients[1] == pytest.approx(3.0, rel=0.05)
    quality = fit.energy_j.quality
    assert quality is not None
    assert 0 < quality.median_ape < 0.05
    assert quality.negative_predictions == 0
    assert fit.range["input_tokens"][0] >= 8


def test_prediction_interval_covers_new_runs_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(300):
        tin, tout = rng.uniform(10, 2000, 21), rng.uniform(10, 1000, 21)
        y = 5 * tin + 30 * tout + 0.01 * tin * tout + 200 * rng.standard_normal(21)
        table = Observations(tin[1:], tout[1:], np.abs(y[1:]) + 1e-9, np.ones(20))
        estimate = fit_bilinear(table, "m").energy_j
        half = estimate.half_width(tin[0], tout[0], 0.95)
        inside += abs(estimate.mean(tin[0], tout[0]) - y[0]) <= half
    assert 0.91 <= inside / 300 <= 0.985


def test_negative_predictions_are_counted() -> None:
    tin, tout = (a.ravel() for a in np.meshgrid(GRID, GRID))
    table = Observations(tin, tout, tin * tout + tout**2 / 2, tout)
    quality = fit_bilinear(table, "no cache").energy_j.quality
    assert quality is not None
    assert quality.negative_predictions == int(
        np.sum(design(tin, tout, False) @ fit_bilinear(table, "m").energy_j.beta < 0)
    )
    assert quality.negative_predictions > 0
    assert quality.r2_uncentred > 0.9
    assert quality.mape > 0.5


def test_constant_response_has_no_centred_r2_and_the_file_says_absent(tmp_path: Path) -> None:
    table = runs()
    constant = Observations(table.input_tokens, table.output_tokens, np.ones(len(table)), table.runtime_s)
    fit = fit_bilinear(constant, "m", intercept=True)
    assert fit.energy_j.quality is not None
    assert math.isnan(fit.energy_j.quality.r2_centred)
    path = tmp_path / "law.json"
    write_bilinear(fit, path)
    assert json.loads(path.read_text())["fit"]["energy_j"]["quality"]["r2_centred"] is None
    again = read_bilinear(path)
    assert again.energy_j.quality is not None
    assert math.isnan(again.energy_j.quality.q2)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_llama_2_coefficients_give_negative_joules_inside_their_own_grid(name: str) -> None:
    """Fitted to an engine without a KV cache; large input with short output gives less than zero joules."""
    law = published(name)
    negative = [(i, o) for i in GRID for o in GRID if law.request_cost(i, o)[1] < 0]
    assert len(negative) == {"Llama-2 7B": 13, "Llama-2 13B": 13, "Llama-2 70B": 5}[name]
    assert all(i > o for i, o in negative)
    with pytest.raises(OutOfRangeError, match="gives energy_j = -"):
        law.predict(2048, 8)


def test_published_coefficients_reproduce_the_printed_totals_of_the_alpaca_workload() -> None:
    sums = np.array([1_125_669, 8_460_614, 160_504_458])
    printed_kwh = {"Llama-2 7B": 74.770, "Llama-2 13B": 132.753, "Llama-2 70B": 985.157}
    for name, kwh in printed_kwh.items():
        assert float(sums @ published(name).energy_j.beta) / 3.6e6 == pytest.approx(kwh, abs=1e-3)


@pytest.mark.parametrize("intercept", [False, True])
def test_law_file_round_trips_and_has_the_documented_keys(tmp_path: Path, intercept: bool) -> None:
    fit = fit_bilinear(runs(), "some model", intercept=intercept)
    path = tmp_path / "law.json"
    write_bilinear(fit, path)
    body = json.loads(path.read_text())
    assert (body["schema"], body["law"], body["model"]) == (1, "bilinear", "some model")
    assert {"a0", "a1", "a2"} <= set(body["energy_j"])
    assert {"b0", "b1", "b2"} <= set(body["runtime_s"])
    again = read_bilinear(path)
    assert again.predict(300, 100) == fit.predict(300, 100)
    assert again.range == fit.range
    assert again.energy_j.quality == fit.energy_j.quality


def test_law_file_of_bare_coefficients_is_read_with_unbounded_intervals(tmp_path: Path) -> None:
    path = tmp_path / "law.json"
    path.write_text(
        json.dumps(
            {
                "schema": 1,
                "law": "bilinear",
                "model": "m",
                "energy_j": {"a0": 0.01, "a1": 3, "a2": 1e-4},
                "runtime_s": {"b0": 1e-4, "b1": 0.02, "b2": 1e-6},
            }
        )
    )
    law = read_bilinear(path)
    found = law.predict(100, 100)["energy_j"]
    assert (found.mean, found.lo, found.hi) == (pytest.approx(302.0), 0.0, math.inf)
    assert found.extrapolated
    assert law.outside(100, 100) == ["the law file states no range"]
    write_bilinear(law, path)
    assert read_bilinear(path).request_cost(7, 9) == law.request_cost(7, 9)


def test_quality_without_covariance_is_written_but_gives_no_interval(tmp_path: Path) -> None:
    fitted = fit_bilinear(runs(), "m")
    bare = Side(fitted.energy_j.coefficients, quality=fitted.energy_j.quality)
    partly = Side(fitted.runtime_s.coefficients, None, np.eye(3), 1.0, 20)
    write_bilinear(BilinearFit("m", bare, partly, fitted.range), tmp_path / "law.json")
    again = read_bilinear(tmp_path / "law.json")
    assert again.energy_j.half_width(5, 5, 0.95) == math.inf
    assert again.runtime_s.quality is None
    assert again.runtime_s.half_width(5, 5, 0.95) > 1.0


def test_prediction_outside_the_fitted_tokens_is_marked() -> None:
    fit = fit_bilinear(runs(), "m")
    assert not fit.predict(500, 500)["energy_j"].extrapolated
    assert fit.predict(500, 5000)["energy_j"].extrapolated
    assert "output_tokens 5000 outside" in fit.outside(500, 5000)[0]
    with pytest.raises(InputError, match="at least 1 of each"):
        fit.predict(0, 5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"law": "phase"}, "found law 'phase'"),
        ({"model": 3, "energy_j": {"a0": 1}, "runtime_s": []}, "4 problems"),
        ({"energy_j": {"a0": 1, "a1": True, "a2": 1, "intercept": "x"}}, "energy_j.a1 is True"),
        ({"range": {"input_tokens": [5, 1]}}, "range.output_tokens is None"),
    ],
)
def test_malformed_law_files_are_refused_with_all_problems(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    body: dict[str, object] = {
        "law": "bilinear",
        "model": "m",
        "energy_j": {"a0": 1, "a1": 1, "a2": 1},
        "runtime_s": {"b0": 1, "b1": 1, "b2": 1},
    }
    path = tmp_path / "law.json"
    write_json(path, "law", body | change)
    with pytest.raises(InputError) as error:
        read_bilinear(path)
    assert said in str(error.value)


def test_tables_that_cannot_tell_the_terms_apart_are_refused() -> None:
    few = Observations(*([np.array([1.0, 2.0, 3.0])] * 4))
    with pytest.raises(InputError, match="found 3 rows; expected at least 4"):
        fit_bilinear(few, "m")
    same = Observations(np.full(9, 32.0), np.arange(1.0, 10), np.arange(1.0, 10), np.arange(1.0, 10))
    with pytest.raises(InputError, match="do not tell 3 terms apart"):
        fit_bilinear(same, "m")
    with pytest.raises(InputError, match="expected one length"):
        Observations(np.ones(2), np.ones(3), np.ones(3), np.ones(3))


def table_file(path: Path, rows: list[str]) -> Path:
    path.write_text("input_tokens,output_tokens,energy_j,runtime_s,note\n" + "\n".join(rows) + "\n")
    return path


def test_bad_rows_are_listed_by_line_and_never_dropped(tmp_path: Path) -> None:
    good = [f"{i * 10},{i * i},{i * 3.5},{i * 0.1},ok" for i in range(1, 9)]
    path = table_file(tmp_path / "runs.csv", [*good, "5,,1,1,x", "5,5,abc,1,x", "5,5,-3,0,x"])
    with pytest.raises(InputError) as error:
        read_observations(path)
    said = str(error.value)
    assert "line 10: output_tokens is None" in said
    assert "line 11: energy_j is 'abc'" in said
    assert "line 12: energy_j is '-3'" in said
    assert "line 12: runtime_s is '0'" in said
    many = table_file(tmp_path / "many.csv", ["0,1,1,1,x"] * 30)
    with pytest.raises(InputError, match="and 10 more"):
        read_observations(many)
    assert len(read_observations(table_file(tmp_path / "good.csv", good))) == 8


def test_tables_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("input_tokens,energy_j\n1,2\n")
    with pytest.raises(FileFormatError, match="missing columns output_tokens, runtime_s"):
        read_observations(path)
    path.write_text("")
    with pytest.raises(FileFormatError, match="not a readable CSV"):
        read_observations(path)
    with pytest.raises(UnknownNameError, match="Supported: bilinear"):
        Ask("cubic").entry()


def test_fit_then_predict_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = runs()
    rows = [
        ",".join(f"{v:.8g}" for v in row) + ",x"
        for row in zip(*(getattr(table, n) for n in Observations.__slots__), strict=True)
    ]
    path, law = table_file(tmp_path / "runs.csv", rows), tmp_path / "law.json"
    assert run(["fit", str(path), "--model", "m", "-o", str(law)]) == 0
    assert "energy_j" in capsys.readouterr().out
    assert run(["fit", str(path), "--model", "m", "--intercept", "-o", str(law), "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert "intercept" in body["energy_j"]
    assert list(body["provenance"]["inputs"]) == ["runs.csv"]
    assert run(["predict", "--law", str(law), "--input", "300", "--output", "100", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["energy_j"]["lo"] < found["energy_j"]["mean"] < found["energy_j"]["hi"]
    assert run(["predict", "--law", str(law), "--input", "300", "--output", "9000"]) == 0
    assert "extrapolated: output_tokens 9000" in capsys.readouterr().err


def test_fit_says_where_the_form_goes_negative(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{i},{o},{i * o + o * o / 2},{o},x" for i in GRID for o in GRID]
    path = table_file(tmp_path / "runs.csv", rows)
    assert run(["fit", str(path), "--model", "m", "-o", str(tmp_path / "law.json")]) == 0
    assert "get a negative energy_j" in capsys.readouterr().err
