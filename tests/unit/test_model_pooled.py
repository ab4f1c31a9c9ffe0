"""Few runs of a new system: an earlier law carries what they cannot say, and gives way when they can."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from test_model_records import run_campaign

from wattlane.cli.app import run
from wattlane.core.errors import InputError, OutOfRangeError
from wattlane.model.ask_law import ask_law
from wattlane.model.fitting import Ask, fit_records, read_earlier, write_law
from wattlane.model.laws.bilinear import fit_bilinear
from wattlane.model.laws.table import read_table
from wattlane.model.observations import Observations
from wattlane.model.records import Records
from wattlane.model.records.cells import table_of
from wattlane.model.spread import Spread
from wattlane.model.statistics.pooled import pooled_fit

OLD = np.array([0.02, 3.0, 2e-4])
POINTS = np.array([(i, o) for i in (16, 128, 512, 2048) for o in (8, 64, 256, 1024)], float)


def runs(beta, points=POINTS, noise=0.03, seed=0):
    rng = np.random.default_rng(seed)
    tin, tout = points.T
    energy = (beta[0] * tin + beta[1] * tout + beta[2] * tin * tout) * np.exp(noise * rng.standard_normal(len(tin)))
    return Observations(tin, tout, energy, energy / 250)


def mape(fit, beta):
    truth = runs(beta, noise=0.0)
    found = fit.energy_j.at(truth.input_tokens, truth.output_tokens) @ fit.energy_j.beta
    return float(np.mean(np.abs(found / truth.energy_j - 1)))


EARLIER = fit_bilinear(runs(OLD, np.repeat(POINTS, 6, axis=0)), "old", method="relative")


def test_five_runs_of_a_faster_system_are_enough_with_an_earlier_law():
    """A new GPU at 0.4 of the energy whose coefficients further differ by up to 20 %."""
    new = 0.4 * OLD * np.array([1.2, 1.0, 0.85])
    pooled, alone = [], []
    for seed in range(20):
        few = runs(new, POINTS[np.random.default_rng(seed).choice(16, 5, replace=False)], seed=seed)
        pooled.append(mape(fit_bilinear(few, "new", method="pooled", earlier=EARLIER), new))
        alone.append(mape(fit_bilinear(few, "new", method="relative"), new))
    assert np.median(pooled) < 0.06
    assert np.mean(pooled) < 0.7 * np.mean(alone)
    assert mape(EARLIER, new) > 1.0


def test_one_run_moves_the_scale_and_many_make_the_earlier_law_irrelevant():
    one = fit_bilinear(runs(0.5 * OLD, POINTS[5:6], noise=0.0), "new", method="pooled", earlier=EARLIER)
    assert mape(one, 0.5 * OLD) < 0.03
    new = OLD * np.array([4.0, 0.5, 3.0])
    many = runs(new, np.repeat(POINTS, 30, axis=0))
    pooled, alone = (
        fit_bilinear(many, "new", method=m, earlier=e) for m, e in (("pooled", EARLIER), ("relative", None))
    )
    assert pooled.energy_j.coefficients == pytest.approx(alone.energy_j.coefficients, rel=0.03)


def test_interval_of_a_pooled_fit_narrows_with_runs_and_covers_the_system_it_is_of():
    rng = np.random.default_rng(4)
    inside, widths = [], {3: [], 12: []}
    for seed in range(60):
        new = 0.6 * OLD * np.exp(0.3 * rng.standard_normal(3))
        for count, kept in widths.items():
            few = runs(new, POINTS[rng.choice(16, count, replace=False)], seed=seed)
            fit = fit_bilinear(few, "new", method="pooled", earlier=EARLIER)
            kept.append(fit.energy_j.half_width(512, 512, 0.95) / fit.energy_j.mean(512, 512))
            truth = runs(new, np.array([[512.0, 512.0]]), seed=seed + 1000).energy_j[0]
            inside.append(abs(fit.energy_j.mean(512, 512) - truth) <= fit.energy_j.half_width(512, 512, 0.95))
    assert np.median(widths[12]) < np.median(widths[3])
    assert np.mean(inside) > 0.9


def test_a_coefficient_the_earlier_law_lacks_stays_small_until_runs_ask_for_it():
    x = np.column_stack([POINTS, POINTS[:, 0] * POINTS[:, 1]])
    prior = np.array([0.0, 3.0, 2e-4])
    few = pooled_fit(x[:3], x[:3] @ prior, prior, 0.05)
    assert few.beta == pytest.approx(prior, abs=1e-3)
    assert few.scale == pytest.approx(1.0)
    asked = pooled_fit(x, x @ [2.0, 3.0, 2e-4], prior, 0.02)
    assert asked.beta[0] > 1.0


def test_laws_that_cannot_be_a_start_are_refused(tmp_path: Path):
    few = runs(OLD, POINTS[:4])
    with pytest.raises(InputError, match="method pooled and no earlier law"):
        fit_bilinear(few, "m", method="pooled")
    with pytest.raises(InputError, match="method relative and an earlier law"):
        fit_bilinear(few, "m", method="relative", earlier=EARLIER)
    with pytest.raises(InputError, match="fitted on relative errors"):
        fit_bilinear(few, "m", method="pooled", earlier=fit_bilinear(runs(OLD), "old"))
    with pytest.raises(InputError, match="expected out, context"):
        Ask("cache_aware", kv_cache=False, order=2, earlier=EARLIER).fit(few, "m")
    with pytest.raises(InputError, match="an earlier law that is never negative"):
        pooled_fit(np.ones((1, 1)), np.ones(1), np.array([-1.0]), 0.1)
    bare = replace(EARLIER, energy_j=replace(EARLIER.energy_j, covariance=None))
    write_law(bare, tmp_path / "bare.json")
    with pytest.raises(InputError, match="with its errors"):
        read_earlier(tmp_path / "bare.json")


def records(table: Observations, **columns) -> Records:
    values = {name: getattr(table, name) for name in Observations.__slots__}
    return Records.of(pl.DataFrame({**values, "model": "new", **columns}), "plain")


def test_an_earlier_law_alone_chooses_the_pooled_fit_and_it_round_trips(tmp_path: Path):
    fit = fit_records(records(runs(0.5 * OLD, POINTS[::5])), Ask("bilinear", earlier=EARLIER))
    assert fit.method == "pooled"
    write_law(fit, tmp_path / "new.json")
    again = read_earlier(tmp_path / "new.json")
    assert again.predict(500, 500) == fit.predict(500, 500)


def test_table_and_regression_rest_on_the_same_records():
    table = table_of(records(runs(OLD, np.repeat(POINTS, 2, axis=0), noise=0.0), batch=4.0), "new")
    assert len(table.cells) == 16
    _, energy_j = table.request_cost(512, 64)
    assert energy_j == pytest.approx(OLD @ [512, 64, 512 * 64])
    assert table.cells[(512, 64)].energy_j == pytest.approx(4 * energy_j)
    with pytest.raises(InputError, match="batch is absent"):
        table_of(records(runs(OLD)), "new")


def test_fit_writes_a_table_and_a_pooled_law_that_predict_asks(tmp_path: Path, capsys):
    folder, table, law = run_campaign(tmp_path / "run"), tmp_path / "table.json", tmp_path / "old.json"
    assert run(["fit", str(folder), "--model", "fake", "--law", "table", "-o", str(table)]) == 0
    assert "fake: table of 9 cells" in capsys.readouterr().out
    assert read_table(table).provenance["runs"]["rows"] == 18
    assert run(["fit", str(folder), "--model", "fake", "--law", "table", "-o", str(table), "--report", "x"]) == 1
    assert "expected no --report" in capsys.readouterr().err
    assert run(["predict", "--law", str(table), "--input", "60", "--output", "60"]) == 0
    said = capsys.readouterr()
    assert "this law states no interval" in said.err
    assert "LookupTable" in said.out
    write_law(EARLIER, law)
    few = tmp_path / "few.csv"
    few.write_text("input_tokens,output_tokens,energy_j,runtime_s\n128,64,100,0.4\n512,16,30,0.1\n")
    asked = ["fit", str(few), "--model", "new", "--earlier", str(law), "-o", str(tmp_path / "new.json"), "--json"]
    assert run(asked) == 0
    assert json.loads(capsys.readouterr().out)["method"] == "pooled"


@pytest.mark.slow  # draws a page
def test_asking_a_law_says_what_held_for_groups_left_out_and_what_it_is_not(tmp_path: Path):
    runs_csv, law = tmp_path / "runs.csv", tmp_path / "law.json"
    table = runs(OLD, np.repeat(POINTS, 3, axis=0), seed=9)
    rows = zip(*(getattr(table, name) for name in Observations.__slots__), range(len(table)), strict=True)
    lines = [f"{i},{o},{e},{r},g{k % 12}" for i, o, e, r, k in rows]
    runs_csv.write_text("\n".join(["input_tokens,output_tokens,energy_j,runtime_s,rack", *lines]) + "\n")
    asked = ["fit", str(runs_csv), "--model", "m", "--method", "relative", "-o", str(law), "--by", "rack"]
    assert run([*asked, "--report", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").is_file()
    notes = ask_law(law, 500, 500).notes
    assert "90% of runs of left-out groups (rack): energy_j [" in notes[0]
    fit = read_earlier(law)
    few = replace(fit, conformal=replace(fit.conformal, energy_j=Spread({}, 1)))
    write_law(few, law)
    assert "1 groups of rack are too few" in ask_law(law, 500, 500).notes[0]
    profile = tmp_path / "constant.json"
    profile.write_text(json.dumps({"schema": 1, "kind": "law", "law": "constant", "share": 0.5}))
    with pytest.raises(InputError, match="not asked about one request"):
        ask_law(profile, 500, 500)
    with pytest.raises(OutOfRangeError):
        ask_law(law, 500, 50_000)
