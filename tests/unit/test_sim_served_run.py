"""A run told by `served.parquet`: constants that made it are found within the interval that is stated."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from wattlane.cli.app import run as command
from wattlane.core.errors import InputError
from wattlane.core.facts.gpus import gpu
from wattlane.core.files import write_json
from wattlane.core.served import read_served, write_served
from wattlane.core.workload import Workload
from wattlane.model.profile import profile_for, read_profile, write_profile
from wattlane.sim import run
from wattlane.sim.against import measured_runs
from wattlane.sim.calibrate import calibrate, case_of, read_runs, replayed
from wattlane.sim.served_run import read_served_run

N = 120
PROFILE = profile_for(gpu("H100"))
TRUTH = {"host_s": 1.6, "host_per_seq_s": 1.4, "eta_flop": 0.9}  # factors on the profile


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated day of an engine whose host and kernels are slower than the profile says."""
    out = tmp_path_factory.mktemp("served") / "day"
    family = PROFILE.families["dense"]
    parameters = {**family.parameters, **{name: family.parameters[name] * f for name, f in TRUTH.items()}}
    true = replace(PROFILE, families={**PROFILE.families, "dense": replace(family, parameters=parameters)})
    write_profile(true, out.parent / "true.json")
    rng = np.random.default_rng(1)
    work = Workload(np.cumsum(rng.exponential(0.05, N)), rng.integers(50, 2000, N), rng.integers(2, 200, N))
    limits = {"max_num_seqs": 64, "max_num_batched_tokens": 2048}
    run(work, out, model="Llama-3.1-8B", gpu="H100", replicas=2, profile=out.parent / "true.json", **limits)
    return out


def test_constants_that_made_a_day_are_found_within_the_stated_interval(folder: Path) -> None:
    (measured,) = read_runs(folder, {})
    found = calibrate(measured, PROFILE)
    told = found.as_dict()
    known = PROFILE.families["dense"].parameters
    for name, p in told["parameters"].items():
        assert p["lo"] <= known[name] * TRUTH.get(name, 1.0) <= p["hi"], name
    host = told["parameters"]["host_s"]
    assert host["sd_log"] < 0.7 * host["prior_sd_log"], "the day tells something of the host"
    assert told["errors"]["tpot"]["ape_median"] < 0.02
    assert told["errors"]["tpot"]["ape_median"] < 0.3 * told["errors"]["tpot"]["ape_median_queue"]
    assert told["running_nrmse"] < 0.05
    assert "scheduled_to_first" not in told["errors"], "the file has no such stamp"


def test_one_replica_is_taken_and_its_tokens_are_where_they_were(folder: Path) -> None:
    measured = read_served_run(folder / "served.parquet")
    rows = read_served(folder / "served.parquet").filter(pl.col("replica") == 0)
    assert "replica 0" in measured.name
    assert len(measured.workload) == len(rows) == N // 2
    assert measured.deployment.replicas == 1
    assert measured.deployment.max_num_seqs == 64
    assert measured.settings is not None
    assert measured.settings.reserve_kv, "as `wattlane simulate` schedules"
    whole_s = int(np.floor(measured.stamps.last_s.max()))
    late = float((measured.stamps.last_s > whole_s).sum())
    assert measured.tokens_per_s.sum() <= rows["output_tokens"].sum()
    assert measured.tokens_per_s.sum() >= rows["output_tokens"].sum() - late * 200
    assert measured.running.max() <= 64
    assert not measured.stamps.is_scheduled


def test_a_capped_day_is_replayed_as_it_was(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    work = Workload(np.cumsum(rng.exponential(0.1, 40)), rng.integers(50, 4000, 40), rng.integers(1, 90, 40))
    limits = {"max_num_seqs": 16, "max_num_batched_tokens": 1024}
    run(work, tmp_path, model="Llama-3.1-8B", gpu="H100", power_cap_w=330.0, **limits)
    measured = read_served_run(tmp_path / "served.parquet")
    assert "replica" not in measured.name
    assert measured.deployment.power_cap_w == 330.0
    parameters = PROFILE.families["dense"].parameters
    again, tokens_s = replayed(measured, case_of(measured), parameters)
    for name, seconds in measured.stamps.quantities().items():
        if name != "scheduled_to_first":
            np.testing.assert_allclose(again.quantities()[name], seconds, rtol=1e-9, err_msg=name)
    assert len(tokens_s) == work.output_tokens.sum()
    uncapped = replace(measured, deployment=replace(measured.deployment, power_cap_w=None))
    free, _ = replayed(uncapped, case_of(measured), parameters)
    assert free.last_s.max() < again.last_s.max(), "the cap binds"


def test_what_ran_is_read_from_a_measurement_or_given(folder: Path, tmp_path: Path) -> None:
    table = read_served(folder / "served.parquet")
    write_served(tmp_path / "served.parquet", table)
    with pytest.raises(InputError, match=r"no word of model and gpu beside it; give --model and --gpu"):
        read_served_run(tmp_path / "served.parquet")
    given = read_served_run(tmp_path / "served.parquet", {"model": "Llama-3.1-8B", "gpu": "h100", "max_num_seqs": None})
    assert given.deployment.gpu == "H100"
    assert given.deployment.max_num_seqs == 1024, "vLLM's default there"
    options = {"max_num_seqs": 32, "max_num_batched_tokens": 0, "tensor_parallel_size": 2}
    engine = {"model": "Qwen3-8B", "options": options}
    write_json(tmp_path / "measurement.json", "measurement", {"engine": engine})
    deployment = read_served_run(tmp_path / "served.parquet", {"model": "Llama-3.1-8B", "gpu": "H100"}).deployment
    assert (deployment.model, deployment.max_num_seqs, deployment.tensor_parallel) == ("Qwen3-8B", 32, 2)
    write_json(tmp_path / "measurement.json", "measurement", {"engine": {"model": "random", "random_weights": True}})
    with pytest.raises(InputError, match="no word of model"):
        read_served_run(tmp_path / "served.parquet", {"gpu": "H100"})


def test_requests_that_failed_are_no_run(folder: Path, tmp_path: Path) -> None:
    table = read_served(folder / "served.parquet").with_columns(outcome=pl.lit("failed"))
    write_served(tmp_path / "served.parquet", table)
    with pytest.raises(InputError, match="120 requests and none completed"):
        read_runs(tmp_path / "served.parquet", {"model": "Llama-3.1-8B", "gpu": "H100"})


def test_a_folder_without_runs_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no meta\.json"):
        read_runs(tmp_path, {})
    with pytest.raises(InputError):
        measured_runs(tmp_path)


def test_verb_fits_a_served_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "own.json"
    assert command(["simulate", "--calibrate", str(folder / "served.parquet"), "-o", str(out)]) == 0
    words = capsys.readouterr().out
    assert "served.parquet, replica 0: meta-llama/Llama-3.1-8B on 1 x H100; fitted: first half" in words
    assert "second half" in words
    assert read_profile(out).families["dense"].origins["host_s"] == "calibrated to a measured run"
    assert command(["simulate", "--calibrate", str(folder), "--json"]) == 0
    (body,) = json.loads(capsys.readouterr().out)["runs"]
    assert set(body["errors"]) == {"ttft", "tpot", "e2e"}
