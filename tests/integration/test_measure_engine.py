"""The embedded engine for real: llama.cpp's server in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from wattlane.core.errors import MeasurementError
from wattlane.core.files import read_json, read_parquet
from wattlane.core.served import read_served
from wattlane.measure import run
from wattlane.measure.engines.registry import open_engine
from wattlane.measure.meters.simulated import SimulatedMeter

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")
pytestmark = [pytest.mark.engine, pytest.mark.slow]

HUNDRED = "poisson:n=100,rate_rps=50,input=24,output=8"
LONG = "deterministic:n=100,rate_rps=10,input=24,output=8"
PHASE_KEYS = {"energy_j", "energy_j_lo", "energy_j_hi", "error_parts", "source", "boundary", "status", "duration_s"}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("WATTLANE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def start_cli(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "wattlane", "measure", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def server_pid(cli: subprocess.Popen[str]) -> int:
    """Wait for the one child of the command that is the engine, and until the drive has begun."""
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        for pid in Path(f"/proc/{cli.pid}/task/{cli.pid}/children").read_text().split():
            if "xllamacpp_server" in Path(f"/proc/{pid}/cmdline").read_text():
                time.sleep(1.5)
                return int(pid)
        time.sleep(0.05)
    raise AssertionError("the engine did not start")


def test_hundred_requests_are_all_accounted_for_with_ttft_and_gaps(tmp_path):
    result = run("xllamacpp", HUNDRED, tmp_path, seed=1)
    assert result.valid, result.reasons
    table = read_served(tmp_path / "served.parquet")
    assert table["request_id"].to_list() == list(range(100))
    assert set(table["outcome"]) == {"completed"}
    assert table["input_tokens"].to_list() == [24] * 100
    assert table["output_tokens"].to_list() == [8] * 100
    assert (table["first_token_s"] > table["arrival_s"]).all()
    assert set(table["gaps_s"].list.len()) == {7}
    assert table["gaps_complete"].all()
    assert table["server_prefill_s"].null_count() == 0
    body = read_json(tmp_path / "measurement.json", "measurement")
    assert body["tokens"] == {"input": 2400, "output": 800}
    assert body["cpu_seconds"] > 0
    assert body["time"]["method"] == "server timings"
    spans = body["time"]
    assert sum(spans[k] for k in ("prefill_only_s", "decode_only_s", "both_s", "idle_s")) == pytest.approx(
        body["window_s"], rel=1e-6
    )
    telemetry = read_parquet(tmp_path / "telemetry.parquet", "telemetry", ["time_s", "source", "cpu_s", "energy_j"])
    assert telemetry.filter(pl.col("source") == "proc")["cpu_s"].drop_nulls().is_sorted()


def test_energy_without_a_sensor_is_absent_and_with_assumed_watts_modelled(tmp_path):
    bare = run("xllamacpp:slots=2", "burst:n=4,input=16,output=4", tmp_path / "bare").as_dict()
    assumed = run("xllamacpp:slots=2", "burst:n=4,input=16,output=64", tmp_path / "cpu", cpu_watts=10.0).as_dict()
    if bare["energy"]["status"] == "measured":
        pytest.skip("this machine has a sensor for its CPU")
    for entry in (bare["energy"], bare["phases"]["prefill"], bare["phases"]["decode"]):
        assert entry["energy_j"] is None
        assert entry["status"] == "absent"
    assert bare["idle_w"] is None
    assert any(reason.startswith("energy_absent") for reason in bare["reasons"])
    assert set(bare["phases"]["decode"]) > PHASE_KEYS
    phases = assumed["phases"]
    assert {assumed["energy"]["status"], phases["prefill"]["status"], phases["decode"]["status"]} == {"modelled"}
    assert assumed["energy"]["energy_j"] == pytest.approx(10 * assumed["cpu_seconds"])
    total_j = phases["prefill"]["energy_j"] + phases["decode"]["energy_j"]
    assert total_j == pytest.approx(assumed["energy"]["energy_j"])


def test_a_meter_is_read_through_idle_and_window(tmp_path):
    result = run("xllamacpp", "burst:n=8,input=16,output=16", tmp_path, meter=SimulatedMeter.constant(100.0))
    # a busy machine stamps a reading a few milliseconds late; the idle window is 2 s
    assert result.idle_w == pytest.approx(100, rel=1e-2)
    assert result.energy.energy_j_lo <= 100 * result.window_s <= result.energy.energy_j_hi
    assert result.energy.energy_j == pytest.approx(100 * result.window_s, rel=0.01)
    assert result.energy.status == "modelled"


def test_a_request_past_the_context_is_refused_and_recorded(tmp_path):
    result = run("xllamacpp:context_tokens=256,slots=1", "burst:n=2,input=400,output=4", tmp_path)
    assert not result.valid
    assert result.outcomes == {"refused": 2}
    assert "400" in result.reasons[0]


def test_a_server_killed_mid_run_leaves_recorded_failures_and_exit_code_4(tmp_path):
    with start_cli("xllamacpp", LONG, "-o", str(tmp_path), "--json") as cli:
        os.kill(server_pid(cli), signal.SIGKILL)
        stdout, stderr = cli.communicate(timeout=30)
    assert cli.returncode == 4
    assert "Traceback" not in stderr
    assert "SIGKILL" in stderr
    table = read_served(tmp_path / "served.parquet")
    assert len(table) == 100
    failed = table.filter(pl.col("outcome") == "failed")
    assert 0 < len(failed) < 100
    assert failed["error"].null_count() == 0
    body = read_json(tmp_path / "measurement.json", "measurement")
    assert body["valid"] is body["complete"] is False
    assert body["failed"] == len(failed)
    assert json.loads(stdout)["failed"] == len(failed)
    assert body["energy"]["energy_j"] is None
    assert (tmp_path / "telemetry.parquet").exists()
    assert (tmp_path / "provenance.json").exists()


def test_an_interrupted_run_keeps_what_it_has_says_so_and_stops_its_server(tmp_path):
    with start_cli("xllamacpp", LONG, "-o", str(tmp_path)) as cli:
        pid = server_pid(cli)
        cli.send_signal(signal.SIGINT)
        _, stderr = cli.communicate(timeout=30)
    assert cli.returncode == 130
    assert "Traceback" not in stderr
    table = read_served(tmp_path / "served.parquet")
    assert set(table["outcome"]) == {"completed", "cancelled"}
    body = read_json(tmp_path / "measurement.json", "measurement")
    assert body["complete"] is False
    assert body["reasons"][0].startswith("interrupted")
    assert not Path(f"/proc/{pid}").exists()


def test_a_running_server_is_measured_by_its_address(tmp_path):
    with open_engine("xllamacpp:slots=2") as engine:
        result = run(engine.base_url, "burst:n=3,input=16,output=4", tmp_path)
        assert engine.exit_reason() is None
    assert result.valid
    assert result.engine["maker"] == "llamacpp"
    assert result.input_tokens == 48
    assert "process" in (engine.exit_reason() or "")


def test_a_dead_address_is_one_message(tmp_path):
    with pytest.raises(MeasurementError, match="no OpenAI-compatible server answers"):
        run("http://127.0.0.1:1", "burst:n=1", tmp_path)
