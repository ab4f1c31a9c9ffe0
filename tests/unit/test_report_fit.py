"""The page of a fit: one command makes it, it holds what a reviewer asks, and nothing on it is made up."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from published_layouts import write_wilkins
from test_model_records import run_campaign
from test_report_page import Reader

from wattlane.cli.app import run
from wattlane.core.errors import FileFormatError, InputError, UnknownNameError
from wattlane.core.files import read_json, write_json
from wattlane.report import figure, page
from wattlane.report.fits.result import load


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Fit one model of a published-layout file twice, with its page."""
    folder = tmp_path_factory.mktemp("fit")
    runs = write_wilkins(folder / "all-stats-raw.csv")
    for name, options in (("ols", []), ("aware", ["--law", "cache_aware", "--order", "2"])):
        where = ["-o", str(folder / f"{name}.json"), "--report", str(folder / name), "--by", "input_tokens"]
        assert run(["fit", str(runs), "--model", "Llama-2-7b-chat-hf", *options, *where]) == 0
    return folder


def text_of(path: Path) -> str:
    return " ".join(" ".join(Reader(path.read_text(encoding="utf-8")).words).split())


@pytest.mark.slow
def test_one_command_writes_law_result_runs_and_a_sound_page(made):
    reader = Reader((made / "aware" / "report.html").read_text(encoding="utf-8"))
    assert reader.problems == []
    assert reader.open == []
    assert [one for one in reader.references if not one.startswith("#")] == []
    assert len(reader.ids) == len(set(reader.ids))
    assert read_json(made / "aware" / "fit.json", "fit")["schema"] == 1
    assert (made / "aware" / "runs.parquet").is_file()
    law = json.loads((made / "aware.json").read_text())
    assert law["kv_cache"] is False
    assert law["conformal"]["by"] == "input_tokens"


@pytest.mark.slow
def test_page_holds_what_a_reviewer_asks(made):
    said = text_of(made / "ols" / "report.html")
    for words in (
        *("R² centred", "R² uncentred", "least squares, with intercept", "median APE", "below zero", "Q²"),
        *("Groups the fit had not seen", "covered", "Other laws on the same runs", "Analysis of variance, type II"),
        *("input_tokens", "residual", "Residuals by factor", "token counts are nominal labels", "Provenance"),
    ):
        assert words in said
    body = read_json(made / "ols" / "fit.json", "fit")
    negative = body["sides"]["energy_j"]["in_sample"]["negative_predictions"]
    assert negative > 0
    assert f"energy of a request is fitted below zero for {negative} of 81 runs" in said
    assert "predictions below zero" in said
    good = body["held_out"][0]["scores"]["energy_j"]["mape"]
    assert f"{100 * good:.1f} % mean error of energy on runs of an unseen input length" in said


@pytest.mark.slow
def test_report_makes_the_page_again_compares_fits_and_draws_single_figures(made, tmp_path, capsys):
    assert run(["report", str(made / "ols"), "-o", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_text() == (made / "ols" / "report.html").read_text()
    page([made / "ols" / "fit.json", made / "aware"], tmp_path / "both.html")
    assert "Comparison of 2 fits" in text_of(tmp_path / "both.html")
    picture = figure(made / "aware", "residuals", tmp_path / "r.png")
    assert picture.read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(UnknownNameError, match="observed"):
        figure(made / "aware", "frontier", tmp_path / "x.png")
    (tmp_path / "study").mkdir()
    with pytest.raises(InputError, match="make two"):
        page([made / "ols", tmp_path / "study"], tmp_path / "mixed.html")


def test_results_that_cannot_be_trusted_are_refused_by_field(tmp_path):
    with pytest.raises(InputError, match=r"found no fit\.json"):
        load(tmp_path)
    write_json(tmp_path / "fit.json", "fit", {"law": 3, "model": "m", "method": "ols"})
    with pytest.raises(FileFormatError) as error:
        load(tmp_path)
    assert "law is 3;" in str(error.value)
    assert "sides is missing" in str(error.value)


SCORES = {"asked": 4, "rows": 4, "mape": 0.1, "median_ape": 0.1, "worst_ape": 0.2, "bias": 0.0, "r2_centred": 0.9}
SIDE = {"unit": "J", "terms": ["in"], "coefficients": [1.0], "in_sample": SCORES}


def test_a_result_of_bare_scores_has_a_page_that_says_what_is_absent(tmp_path):
    sides = {
        "energy_j": SIDE,
        "runtime_s": {**SIDE, "unit": "s", "least_squares": {"with_intercept": {"refused": "x"}}},
    }
    rivals = [{"name": "table", "refused": "too few"}]
    body = {"law": "bilinear", "model": "m", "method": "ols", "sides": sides, "rivals": rivals}
    write_json(tmp_path / "fit.json", "fit", {**body, "variance": {"refused": "one level"}})
    said = text_of(page([tmp_path], tmp_path / "p.html"))
    assert "none left out" in said
    assert "absent: this run has no runs.parquet" in said
    assert "None: one level" in said


@pytest.mark.slow
def test_campaign_then_fit_then_predict_end_to_end(tmp_path, capsys):
    """A campaign on a runner of known power; the law it gives predicts what the next run would take."""
    folder, law = run_campaign(tmp_path / "run"), tmp_path / "law.json"
    assert run(["fit", str(folder), "--model", "fake", "--method", "relative", "-o", str(law)]) == 0
    capsys.readouterr()
    assert run(["predict", "--law", str(law), "--input", "100", "--output", "50", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    runtime_s = 1e-4 * 100 + 0.02 * 50
    assert found["runtime_s"]["mean"] == pytest.approx(runtime_s, rel=0.03)
    assert found["energy_j"]["mean"] == pytest.approx(300 * runtime_s / 4, rel=0.03)
    assert found["energy_j"]["lo"] < 300 * runtime_s / 4 < found["energy_j"]["hi"]
    assert found["notes"] == ["fitted on 18 runs: energy_status measured, boundary gpu, backend fake"]


def test_choices_that_are_none_are_refused(tmp_path, capsys):
    runs = write_wilkins(tmp_path / "a.csv", [(8, 8), (16, 8), (8, 16), (16, 16), (32, 8)])
    asked = ["fit", str(runs), "-o", str(tmp_path / "l.json")]
    assert run([*asked, "--where", "model"]) == 1
    assert "expected COLUMN=VALUE" in capsys.readouterr().err
    assert run(asked) == 1
    assert "rows of 3 values of model" in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert run([*asked, "--where", "model=falcon-7b", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "falcon-7b"
