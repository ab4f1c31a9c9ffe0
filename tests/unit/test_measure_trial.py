"""One measurement from end to end against a local server that is not an engine: files, verdict, exit codes."""

from __future__ import annotations

import json

import pytest
from measure_fake_server import serving

from wattlane.cli.app import run as command
from wattlane.core.errors import InputError, MeasurementError
from wattlane.core.files import read_json, read_parquet
from wattlane.core.served import read_served
from wattlane.measure import run, trial
from wattlane.measure.meters.simulated import SimulatedMeter

FOUR = "burst:n=4,input=6,output=4"
FILES = {"measurement.json", "provenance.json", "served.parquet", "telemetry.parquet"}


def test_a_run_writes_its_four_files_and_they_agree(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "IDLE_WINDOW_S", 0.2)
    told = []
    with serving("llamacpp") as server:
        result = run(
            server.base_url,
            FOUR,
            tmp_path / "run",
            meter=SimulatedMeter.constant(40.0),
            on_progress=lambda *count: told.append(count),
        )
    assert result.valid
    assert {file.name for file in (tmp_path / "run").iterdir()} == FILES
    body = read_json(tmp_path / "run" / "measurement.json", "measurement")
    assert body["requests"] == len(read_served(tmp_path / "run" / "served.parquet")) == 4
    assert body["tokens"] == {"input": 24, "output": 16}
    # the first token of each of the four is made where its prompt is read
    assert {name: body["phases"][name]["tokens"] for name in ("prefill", "decode")} == {"prefill": 24, "decode": 12}
    assert body["idle_w"] == pytest.approx(40, rel=0.05)  # 0.2 s between polls of a busy machine
    assert body["net_energy"]["energy_j"] == body["energy"]["energy_j"] - result.idle_w * body["window_s"]
    assert body["cpu_seconds"] is None  # the server is not ours
    telemetry = read_parquet(tmp_path / "run" / "telemetry.parquet", "telemetry", ["time_s", "energy_j"])
    assert telemetry["time_s"].min() < 0  # the idle window lies before the zero of arrivals
    assert told[-1] == (4, 0, 4)


def test_a_workload_file_is_named_by_its_hash(tmp_path):
    file = tmp_path / "load.csv"
    file.write_text("arrival_s,input_tokens,output_tokens\n0.0,5,2\n0.01,7,2\n")
    with serving("vllm") as server:
        result = run(server.base_url, file, tmp_path / "run")
    assert list(result.provenance.inputs) == ["load.csv"]
    assert len(result.provenance.inputs["load.csv"]) == 64
    assert result.energy.energy_j is None


def test_failures_past_the_limit_make_exit_code_4_after_the_files(tmp_path, capsys):
    with serving("second_half_fails") as server:
        code = command(["measure", server.base_url, FOUR, "-o", str(tmp_path), "--json"])
    out, err = capsys.readouterr()
    assert code == 4
    assert "not valid: failed_requests" in err
    assert json.loads(out)["outcomes"] == {"completed": 2, "failed": 2}
    assert {file.name for file in tmp_path.iterdir()} == FILES


def test_the_table_for_people_says_absent(tmp_path, capsys):
    with serving("llamacpp") as server:
        assert command(["measure", server.base_url, FOUR, "-o", str(tmp_path)]) == 0
    out, _ = capsys.readouterr()
    assert "requests   4, 0 failed" in out
    assert out.count("energy absent") == 3
    assert "0 J" not in out


def test_a_warm_up_that_fails_is_an_error_before_any_file(tmp_path):
    with serving("overloaded") as server, pytest.raises(MeasurementError, match=r"warm-up[\s\S]*HTTP 503: busy"):
        run(server.base_url, FOUR, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_wrong_values_are_refused_together_before_anything_starts(tmp_path):
    with pytest.raises(InputError, match=r"cpu_watts is 0[\s\S]*seed is -1[\s\S]*concurrency is 0[\s\S]*limit_s is 0"):
        run("xllamacpp", FOUR, tmp_path, cpu_watts=0, seed=-1, concurrency=0, limit_s=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="found a file; expected a folder"):
        run("xllamacpp", FOUR, tmp_path / "file")


def test_unknown_targets_and_workloads_are_exit_code_1(tmp_path, capsys):
    assert command(["measure", "llamafile", FOUR, "-o", str(tmp_path)]) == 1
    assert "unknown engine 'llamafile'" in capsys.readouterr().err
    assert command(["measure", "xllamacpp", "no-such-file.csv", "-o", str(tmp_path)]) == 1
    assert "unknown workload 'no-such-file.csv'" in capsys.readouterr().err


def test_doctor_prints_one_json_object_or_lines(capsys):
    assert command(["doctor", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {"kind", "name", "status", "detail", "advice"} == set(findings[0])
    assert command(["doctor"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(findings)
