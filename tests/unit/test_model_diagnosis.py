"""Diagnosis: scores that hide nothing, groups unseen by what is scored on them, intervals that hold what they say."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.model.diagnosis.diagnose import diagnose
from wattlane.model.diagnosis.held_out import MOST, coverage, folds_of, leave_groups_out
from wattlane.model.diagnosis.rivals import LOOKUP, PER_TOKEN, fitter_of, rivals
from wattlane.model.diagnosis.scores import scores
from wattlane.model.diagnosis.variance import variance
from wattlane.model.fitting import Ask, fit_records
from wattlane.model.observations import Observations
from wattlane.model.records import Records

BILINEAR = Ask("bilinear", "relative")


def grouped(groups: int, rows: int = 6, spread: float = 0.15, noise: float = 0.03, seed: int = 0):
    """Runs whose groups err together: each group has a factor of its own on energy and time."""
    rng = np.random.default_rng(seed)
    n = groups * rows
    labels = np.repeat([f"g{i:02d}" for i in range(groups)], rows)
    factor = np.repeat(np.exp(spread * rng.standard_normal(groups)), rows) * np.exp(noise * rng.standard_normal(n))
    tin, tout = rng.integers(8, 2000, n).astype(float), rng.integers(8, 1000, n).astype(float)
    energy = (0.02 * tin + 3.0 * tout + 2e-4 * tin * tout) * factor
    return Observations(tin, tout, energy, energy / 250), labels


def test_scores_are_those_of_their_definitions_and_refusals_are_not_hidden():
    found = scores(np.array([10.0, 20.0, 40.0, 80.0]), np.array([11.0, -2.0, 40.0, np.nan]))
    assert (found.asked, found.rows, found.negative_predictions) == (4, 3, 1)
    assert found.mape == pytest.approx((0.1 + 1.1 + 0) / 3)
    assert (found.median_ape, found.worst_ape) == (pytest.approx(0.1), pytest.approx(1.1))
    assert found.bias == pytest.approx((0.1 - 1.1) / 3)
    assert found.r2_uncentred == pytest.approx(1 - (1 + 484) / (100 + 400 + 1600))
    empty = scores(np.ones(2), np.full(2, np.nan)).as_dict()
    assert (empty["rows"], empty["mape"], empty["asked"]) == (0, None, 2)
    assert math.isnan(scores(np.ones(2), np.ones(2)).r2_centred)


def test_a_left_out_group_is_predicted_by_a_fit_that_never_saw_it():
    table, labels = grouped(5)
    spoilt = Observations(
        table.input_tokens, table.output_tokens, np.where(labels == "g03", 50, 1) * table.energy_j, table.runtime_s
    )
    clean = leave_groups_out(table, labels, fitter_of(BILINEAR))
    dirty = leave_groups_out(spoilt, labels, fitter_of(BILINEAR))
    inside = labels == "g03"
    assert dirty.predicted["energy_j"][inside] == pytest.approx(clean.predicted["energy_j"][inside])
    assert not np.allclose(dirty.predicted["energy_j"][~inside], clean.predicted["energy_j"][~inside])
    assert clean.scores(table, "energy_j", "g03").rows == 6


@settings(max_examples=30)
@given(st.lists(st.integers(0, 40), min_size=2, max_size=120).filter(lambda v: len(set(v)) > 1))
def test_no_group_is_ever_in_two_folds(values):
    labels = np.array([f"g{v}" for v in values])
    folds = folds_of(labels)
    assert len(set(zip(labels.tolist(), folds.tolist(), strict=True))) == len(set(values))
    assert folds.max() + 1 == min(len(set(values)), MOST)


def test_one_group_cannot_be_left_out_and_a_fit_that_fails_says_without_whom():
    table, _ = grouped(2, rows=3)
    with pytest.raises(InputError, match="found one group, a"):
        folds_of(np.array(["a", "a"]))
    held = leave_groups_out(table, np.array(["a"] * 5 + ["b"]), fitter_of(BILINEAR))
    assert "without a: found 1 rows" in held.refusals[0]
    assert np.isnan(held.predicted["energy_j"][:5]).all()
    assert held.scores(table, "energy_j").rows == 1
    assert coverage(table, np.array(["a"] * 5 + ["b"]), fitter_of(BILINEAR))["energy_j"].share is None
    three = coverage(*grouped(3, rows=5), fitter_of(BILINEAR))["energy_j"]
    assert (three.level, three.groups) == (0.5, 3)
    assert 0 <= three.share <= 1
    thin = coverage(*grouped(3, rows=2), fitter_of(BILINEAR))["energy_j"]  # two groups leave too few rows to calibrate
    assert (thin.groups, thin.share) == (0, None)


def test_conformal_intervals_by_group_hold_new_groups_as_often_as_they_say():
    """Held-out groups, not rows: over many draws of 12 calibrating groups, a thirteenth lies inside as promised."""
    inside, half_widths = [], []
    for seed in range(60):
        table, labels = grouped(13, rows=4, seed=seed)
        seen = labels != "g12"
        rest = Observations(*(getattr(table, name)[seen] for name in Observations.__slots__))
        calibrated = leave_groups_out(rest, labels[seen], fitter_of(BILINEAR)).spread(rest, "energy_j")
        quantile = calibrated.quantiles[0.9]
        found = fitter_of(BILINEAR)(rest)(table.input_tokens[~seen], table.output_tokens[~seen])["energy_j"]
        inside.append(np.mean(np.abs(np.log(found / table.energy_j[~seen])) <= quantile))
        half_widths.append(math.exp(quantile) - 1)
    error = np.std(inside) / math.sqrt(len(inside))
    assert 0.9 - 3 * error <= np.mean(inside) <= 0.99
    assert np.median(half_widths) < 0.5
    in_rows = Ask("bilinear", "relative").fit(rest, "m").energy_j.half_width(500, 500, 0.9)
    assert math.isfinite(in_rows)


def test_stated_coverage_is_close_to_its_level_and_names_it():
    table, labels = grouped(14, rows=3)
    found = coverage(table, labels, fitter_of(BILINEAR))["energy_j"]
    assert (found.level, found.groups) == (0.9, 14)
    assert 0.7 <= found.share <= 1.0
    assert 0.1 < found.half_width < 1.0
    assert coverage(*grouped(6, rows=3), fitter_of(BILINEAR))["energy_j"].level == 0.8


def test_a_law_that_goes_negative_has_no_interval_and_that_is_seen():
    tin, tout = (a.ravel() for a in np.meshgrid([8.0, 512.0, 2048.0], [8.0, 512.0, 2048.0]))
    table = Observations(tin, tout, 6 * tout + 0.04 * (tin * tout + tout**2 / 2), tout)
    labels = tin.astype(str)
    held = leave_groups_out(table, labels, fitter_of(Ask("bilinear", "ols")))
    assert held.scores(table, "energy_j").negative_predictions > 0
    assert 0.5 not in held.spread(table, "energy_j").quantiles or held.spread(table, "energy_j").quantiles[0.5] > 0.1


def records(**columns):
    table, labels = grouped(4, rows=9, seed=3)
    values = {name: getattr(table, name) for name in Observations.__slots__}
    return Records.of(pl.DataFrame({**values, "model": "m", "rack": labels, **columns}), "plain")


def test_rivals_stand_on_the_same_rows_and_folds():
    table, labels = grouped(4, rows=9)
    assert list(rivals())[:2] == [PER_TOKEN, LOOKUP]
    for fitter in rivals().values():
        found = fitter(table)(table.input_tokens, table.output_tokens)
        assert set(found) == {"energy_j", "runtime_s"}
    exact = rivals()[LOOKUP](table)(table.input_tokens, table.output_tokens)
    assert exact["energy_j"] == pytest.approx(table.energy_j)
    far = rivals()[LOOKUP](table)(np.array([1e6]), np.array([1e6]))
    assert np.isnan(far["energy_j"]).all()
    assert leave_groups_out(table, labels, rivals()[PER_TOKEN]).scores(table, "energy_j").mape < 0.5


def test_diagnosis_holds_what_a_reviewer_asks_and_is_plain_json():
    runs = records()
    ask = Ask("bilinear", "relative")
    found = diagnose(runs, fit_records(runs, ask), ask, ["rack"])
    body = json.loads(json.dumps(found.body, allow_nan=False))
    side = body["sides"]["energy_j"]
    assert {"r2_uncentred", "r2_centred", "mape", "median_ape", "negative_predictions"} <= set(side["in_sample"])
    for form in ("without_intercept", "with_intercept"):
        assert {"r2_uncentred", "r2_centred", "q2", "f_statistic", "f_p_value"} <= set(side["least_squares"][form])
    assert [one["by"] for one in body["held_out"]] == ["rack"]
    assert [group["group"] for group in body["held_out"][0]["per_group"]] == ["g00", "g01", "g02", "g03"]
    assert "refused" in body["variance"]
    assert {level["level"] for level in body["residuals"]["energy_j"]["rack"]} == {"g00", "g01", "g02", "g03"}
    assert any("to" in level["level"] for level in body["residuals"]["energy_j"]["input_tokens"])
    assert {"fitted_energy_j", "held_out_runtime_s", "rack"} <= set(found.runs.columns)
    assert found.fit.conformal is not None
    assert found.fit.conformal.by == "rack"
    assert 0.5 in found.fit.conformal.energy_j.quantiles


def test_diagnosis_picks_its_groups_and_refuses_columns_that_have_none():
    runs, ask = records(), Ask("bilinear", "ols")
    fit = fit_records(runs, ask)
    assert [one["by"] for one in diagnose(runs, fit, ask).body["held_out"]] == [
        "input_tokens",
        "output_tokens",
        "lengths",
    ]
    with pytest.raises(UnknownNameError, match="rack"):
        diagnose(runs, fit, ask, ["racks"])
    with pytest.raises(InputError, match="found one group in model, m"):
        diagnose(runs, fit, ask, ["model"])


def test_rivals_that_cannot_be_fitted_and_factors_of_many_levels_are_passed_over(tmp_path: Path):
    many = records(batch=np.linspace(1, 9, 36), repeats=np.linspace(1, 1.5, 36), ticket=[f"t{i}" for i in range(36)])
    ask = Ask("bilinear", "relative")
    residuals = diagnose(many, fit_records(many, ask), ask, ["rack"]).body["residuals"]["energy_j"]
    assert "ticket" not in residuals
    assert [level["level"] for level in residuals["batch"]][:2] == ["1 to 2", "2 to 4"]
    assert "rack" in residuals
    short = pl.DataFrame({"input_tokens": [1.0, 5, 9], "output_tokens": [3.0, 1, 8], "energy_j": [5.0, 2, 30]})
    two = Records.of(
        short.with_columns(runtime_s=pl.col("energy_j"), model=pl.lit("m"), kv_cache=pl.lit(value=False)), "p"
    )
    found = diagnose(two, fit_records(two, Ask("cache_aware", order=2)), Ask("cache_aware", order=2)).body["rivals"]
    assert [one["name"] for one in found if "refused" in one] == [
        *("bilinear, least squares", "bilinear, relative, non-negative", "cache-aware, cache on"),
        "cache-aware, cache off, 3 terms",
    ]


def test_too_few_rows_for_a_form_or_a_rival_are_said_and_do_not_stop_the_rest():
    rows = {"input_tokens": [1.0, 5, 9, 20], "output_tokens": [3.0, 1, 8, 5], "energy_j": [5.0, 2, 30, 19]}
    few = Records.of(pl.DataFrame({**rows, "runtime_s": [1.0, 2, 3, 4], "model": "m"}), "plain")
    ask = Ask("bilinear", "ols")
    body = diagnose(few, fit_records(few, ask), ask).body
    assert "found 4 rows" in body["sides"]["energy_j"]["least_squares"]["with_intercept"]["refused"]
    assert "expected repeats" in body["variance"]["refused"]
    assert all("refused" in one or one["in_sample"] for one in body["rivals"])
    assert "without" in body["held_out"][0]["refusals"][0]


def grid(repeats: int, model: str = "m", scale: float = 1.0, seed: int = 0):
    rng = np.random.default_rng(seed)
    points = [(i, o) for i in (8.0, 64.0, 512.0) for o in (8.0, 64.0, 512.0)] * repeats
    tin, tout = np.array(points).T
    energy = scale * (3 * tout + 0.5 * tin + 0.01 * tin * tout) * np.exp(0.1 * rng.standard_normal(len(tin)))
    columns = {"input_tokens": tin, "output_tokens": tout, "energy_j": energy, "runtime_s": energy / 200}
    return pl.DataFrame({**columns, "model": [model] * len(tin)})


def test_variance_is_split_by_lengths_their_interaction_and_models():
    one = variance(Records.of(grid(3), "plain"))
    assert [row["term"] for row in one["tables"]["energy_j"]] == [
        *("input_tokens", "output_tokens", "input_tokens:output_tokens", "residual")
    ]
    assert [row["dof"] for row in one["tables"]["log runtime_s"]] == [2, 2, 4, 18]
    single = variance(Records.of(grid(1), "plain"))
    assert "no repeats" in single["notes"][0]
    assert [row["dof"] for row in single["tables"]["energy_j"]] == [2, 2, 4]
    two = variance(Records.of(pl.concat([grid(2), grid(2, "n", 2.0, 1)]), "plain"))
    assert two["tables"]["energy_j"][0]["term"] == "model"
    assert two["tables"]["energy_j"][0]["p_value"] < 0.05
    flat = grid(2).with_columns(input_tokens=pl.lit(8.0))
    assert "have one level" in variance(Records.of(flat, "plain"))["refused"]


def test_w5_interaction_shows_in_logs_only_where_one_model_factor_is_in():
    """Pooling models of unlike size without a model factor drowns the interaction in their spread."""
    tables = [grid(2, f"m{i}", 10.0**i, i).drop("model") for i in range(3)]
    pooled = variance(Records.of(pl.concat(tables), "plain"))
    apart = variance(
        Records.of(pl.concat([t.with_columns(model=pl.lit(f"m{i}")) for i, t in enumerate(tables)]), "plain")
    )
    row = {name: found["tables"]["log energy_j"][-2] for name, found in (("pooled", pooled), ("apart", apart))}
    assert row["pooled"]["p_value"] > 0.5
    assert row["apart"]["p_value"] < 1e-10


def test_runs_of_several_kinds_are_refused_unless_pooled():
    both = Records.of(pl.concat([grid(2), grid(2, "n")]), "plain")
    with pytest.raises(InputError, match="rows of 2 values of model"):
        fit_records(both, BILINEAR)
    assert fit_records(both, BILINEAR, model="both", pool=True).model == "both"
    nameless = Records.of(grid(2).drop("model"), "plain")
    with pytest.raises(InputError, match="expected --model NAME"):
        fit_records(nameless, BILINEAR)
    with pytest.raises(InputError, match="intercept with law cache_aware"):
        fit_records(nameless, Ask("cache_aware", intercept=True), model="m")
    uneven = Records.of(grid(2).with_columns(batch=pl.Series([1.0, 4.0] * 9)), "plain")
    notes = fit_records(uneven, BILINEAR).provenance["runs"]["notes"]
    assert notes == ["mean batches from 1 to 4 pooled: energy per request falls with the batch"]


def test_the_cache_of_the_runs_chooses_the_terms(tmp_path: Path):
    off = Records.of(grid(2).with_columns(kv_cache=pl.lit(value=False)), "plain")
    assert fit_records(off, Ask("cache_aware")).energy_j.terms == ("out", "context", "context_square")
    assert fit_records(off, Ask("cache_aware", kv_cache=True)).energy_j.terms == ("in", "out", "in_out")
    ask = Ask("cache_aware", order=2)
    body = diagnose(off, fit_records(off, ask), ask, ["lengths"]).body
    assert body["sides"]["energy_j"]["terms"] == ["out", "context"]
