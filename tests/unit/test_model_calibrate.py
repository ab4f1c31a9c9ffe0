"""Calibration from own runs: a synthetic truth is approached, held-out runs say so, and bad runs are named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from wattlane.cli.app import run as wattlane
from wattlane.core.errors import FileFormatError, InputError
from wattlane.core.facts.gpus import gpu
from wattlane.core.facts.models import model
from wattlane.core.files import write_json
from wattlane.model.calibrate import calibrate, folds, log_errors
from wattlane.model.calibrate_runs import Given, Run, Runs, read_runs
from wattlane.model.calibration import Point
from wattlane.model.laws.phase import Case
from wattlane.model.predict import predict
from wattlane.model.profile import Profile, profile_for, read_profile, write_profile
from wattlane.sim import run as simulate

NAME = "Llama-3.1-8B-Instruct"
CASE = Case(gpu("H100"), model(NAME))
SHIPPED = profile_for(CASE.gpu)
SLOWER, HOTTER = 1.8, 1.15


def truth() -> Profile:
    """The user's server: a slower engine and a hotter board than the shipped profile's."""
    families = {}
    for kind, family in SHIPPED.families.items():
        slow = {n: v * SLOWER for n, v in family.parameters.items() if n in ("host_s", "host_per_seq_s")}
        hot = {n: v * HOTTER for n, v in family.parameters.items() if n in ("busy_share", "host_share", "layer_share")}
        families[kind] = replace(family, parameters={**family.parameters, **slow, **hot})
    return replace(SHIPPED, name="truth", families=families)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two simulated days of the true server, as folders with served.parquet and power.parquet."""
    folder = tmp_path_factory.mktemp("runs")
    write_profile(truth(), folder / "truth.json")
    rng = np.random.default_rng(0)
    for i, rate in enumerate((6.0, 14.0)):
        t = np.cumsum(rng.exponential(1 / rate, int(rate * 70)))
        rows = zip(t, rng.integers(100, 1500, len(t)), rng.integers(50, 400, len(t)), strict=True)
        trace = folder / f"trace{i}.csv"
        trace.write_text("arrival_s,input_tokens,output_tokens\n" + "".join(f"{a:.4f},{b},{c}\n" for a, b, c in rows))
        simulate(trace, folder / f"day{i}", model=NAME, profile=folder / "truth.json")
    return folder


def test_points_of_a_log_are_the_laws_steady_state(runs: Path) -> None:
    found = read_runs([runs / "day0", runs / "day1"], Given(CASE))
    assert [run.name for run in found.runs] == ["day0", "day1"]
    assert len(found.points) >= 6
    errors = np.abs(log_errors(truth(), found.points))
    assert errors.mean(axis=0).max() < 0.04  # windows of a fluctuating batch, against the steady law


def test_calibration_approaches_a_synthetic_truth_and_held_out_runs_say_so(runs: Path) -> None:
    found = calibrate(SHIPPED, read_runs([runs / "day0", runs / "day1"], Given(CASE)), name="mine")
    assert found.profile.name == "mine"
    assert found.improves
    assert found.errors["energy"].before_median_ape > 0.12
    assert found.errors["energy"].after_median_ape < 0.5 * found.errors["energy"].before_median_ape
    for batch, prompt, output in ((8, 500, 200), (48, 900, 300)):
        asked = {"batch": batch, "input_tokens": prompt, "output_tokens": output}
        real, old, new = (predict(CASE, **asked, profile=p) for p in (truth(), SHIPPED, found.profile))
        for name in ("itl_s", "energy_j_per_output_token"):
            gaps = [abs(np.log(getattr(p, name).mean / getattr(real, name).mean)) for p in (old, new)]
            assert gaps[1] < 0.5 * gaps[0]
        assert new.itl_s.lo < real.itl_s.mean < new.itl_s.hi


def test_runs_stay_whole_in_a_fold_and_a_single_run_is_cut_in_time() -> None:
    def points(count: int, batch: float) -> tuple[Point, ...]:
        return tuple(
            Point(CASE.gpu, CASE.model, "bf16", 1, batch, 100.0, 0.01 + i, 500.0, "own", "g", input_tokens=10.0)
            for i in range(count)
        )

    parts = folds([Run("a", points(3, 1.0)), Run("b", points(2, 2.0)), Run("c", points(1, 3.0))])
    assert [[p.batch for p in part] for part in parts] == [[1.0] * 3, [2.0] * 2, [3.0]]
    assert len(folds([Run(str(i), points(1, 1.0)) for i in range(9)])) == 5
    cut = folds([Run("a", points(7, 1.0))])
    assert [p.itl_s for part in cut for p in part] == [p.itl_s for p in points(7, 1.0)]
    assert len(cut) == 5
    single = calibrate(SHIPPED, Runs((Run("a", points(1, 8.0)),), {}))
    assert single.errors == {}
    assert not single.improves
    with pytest.raises(InputError, match="no points to judge"):
        log_errors(SHIPPED, [])


def measurement(folder: Path, **changes: object) -> Path:
    """A measured run of one server: four requests of 101 tokens at once."""
    body = {
        "valid": True,
        "complete": True,
        "window_s": 2.0,
        "passes": 1,
        "energy": {"energy_j": 1000.0, "status": "measured", "boundary": "gpu"},
        "engine": {"model": NAME, "compute_dtype": "bfloat16", "quantization": None, "options": {}},
        **changes,
    }
    write_json(folder / "measurement.json", "measurement", body)
    pl.DataFrame(
        {
            "first_token_s": [0.5] * 4,
            "end_s": [1.5] * 4,
            "input_tokens": [100] * 4,
            "output_tokens": [101, 101, 101, 1],
            "outcome": ["completed"] * 4,
        }
    ).write_parquet(folder / "served.parquet")
    return folder


def test_a_measured_run_is_a_point_and_what_cannot_be_used_is_counted(tmp_path: Path) -> None:
    engine = {"model": NAME, "compute_dtype": "bfloat16", "options": {"tensor_parallel_size": 2}, "quantization": "fp8"}
    for name, changes in {
        "a": {},
        "b": {"engine": engine},
        "c": {"valid": False},
        "d": {"energy": {"energy_j": None, "status": "absent", "boundary": "gpu"}},
        "e": {"engine": {**engine, "model": "Llama-3.1-70B"}},
        "f": {"engine": {**engine, "quantization": "awq"}},
        "g": {"engine": {**engine, "model": "my-fine-tune"}},
    }.items():
        measurement(tmp_path / "campaign" / name, **changes)
    found = read_runs([tmp_path / "campaign"], Given(CASE))
    one, two, own = found.points
    assert (one.batch, one.power_w, one.input_tokens, one.output_tokens) == (1.5, 500.0, 100.0, 101.0)
    assert one.itl_s == pytest.approx(0.01)
    assert (two.precision, two.num_gpus) == ("fp8", 2)
    assert own.model is CASE.model  # a name that nobody knows is the model given
    assert sorted(found.left_out) == [
        "another model (meta-llama/Llama-3.1-70B)",
        "no measured GPU energy (absent, boundary gpu)",
        "not valid or not complete",
        "precision awq is not one of fp32, tf32, bf16, fp16, fp8, int8, mxfp4, nvfp4, int4",
    ]
    with pytest.raises(InputError, match="no usable run"):
        read_runs([measurement(tmp_path / "bad", valid=False)], Given(CASE))


def test_logs_and_records_that_cannot_be_read_are_refused(tmp_path: Path, runs: Path) -> None:
    log, record = tmp_path / "log.csv", tmp_path / "power.csv"
    log.write_text("first_token_s,end_s\n1,2\n")
    record.write_text("t_s,watts\n1,2\n")
    with pytest.raises(InputError, match="give its record with --power"):
        read_runs([log], Given(CASE))
    with pytest.raises(InputError, match="no such file or folder"):
        read_runs([tmp_path / "none"], Given(CASE))
    with pytest.raises(FileFormatError, match="missing columns input_tokens, output_tokens"):
        read_runs([log], Given(CASE), power=record)
    pl.read_parquet(runs / "day0" / "served.parquet").drop("gaps_s").write_csv(log)
    with pytest.raises(FileFormatError, match="expected power_w and one of t_s"):
        read_runs([log], Given(CASE), power=record)
    record.write_text("run,t_s,power_w\na,0,400\nb,1,400\n")
    with pytest.raises(FileFormatError, match="several runs"):
        read_runs([log], Given(CASE), power=record)
    record.write_text("t_s,power_w\n")
    with pytest.raises(InputError, match="no window with a steady batch"):
        read_runs([log], Given(CASE), power=record)
    (tmp_path / "log.jsonl").write_text("{not json\n")
    with pytest.raises(FileFormatError, match="not a readable table"):
        read_runs([tmp_path / "log.jsonl"], Given(CASE), power=record)


def test_the_verb_calibrates_from_a_request_log_and_the_profile_is_asked(
    tmp_path: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, record, out = tmp_path / "log.csv", tmp_path / "power.csv", tmp_path / "mine.json"
    pl.read_parquet(runs / "day1" / "served.parquet").drop("gaps_s").write_csv(log)
    pl.read_parquet(runs / "day1" / "power.parquet").write_csv(record)
    asked = ["calibrate", str(log), "--power", str(record), "--profile", "H100", "--model", NAME, "-o", str(out)]
    assert wattlane([*asked, "--name", "mine"]) == 0
    printed = capsys.readouterr()
    assert "errors on held-out runs" in printed.out
    assert "J per output token" in printed.out
    again = read_profile(out)
    assert again.name == "mine"
    assert (
        set(again.provenance["calibrated_from"]) == {"log.csv", "power.csv"}
        or len(again.provenance["calibrated_from"]) == 2
    )
    assert wattlane([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["points"] >= 3
    question = ["--model", NAME, "--batch", "30", "--input", "800", "--output", "220"]
    assert wattlane(["predict", *question, "--profile", str(out)]) == 0
    assert wattlane([*asked, "--window-s", "0"]) == 1
    # a profile calibrated once may be calibrated again
    assert wattlane([*asked[:5], str(out), *asked[6:]]) == 0
