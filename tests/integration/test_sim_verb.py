"""`wattlane simulate` and the library call behind it: files, defaults, refusals, and the same bytes twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import wattlane.sim
from wattlane.cli.app import run as command
from wattlane.core.errors import InputError, UnknownNameError
from wattlane.core.files import read_json, read_parquet
from wattlane.core.served import read_served
from wattlane.core.types import Slo
from wattlane.core.workload import Workload
from wattlane.sim.simulation import run

MODEL = "Llama-3.1-8B-Instruct"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "few.csv"
    rows = "".join(f"{0.05 * i:.2f},{100 + 37 * i % 900},{1 + 11 * i % 60}\n" for i in range(60))
    path.write_text("arrival_s,input_tokens,output_tokens\n" + rows, encoding="utf-8")
    return path


def test_verb_writes_every_file_and_prints_the_account(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert command(["simulate", str(trace), "--model", MODEL, "-o", str(out)]) == 0
    words = capsys.readouterr().out
    for part in ("requests        60, 0 refused", "J per request", "prefill", "ledger residual", "SLO attainment"):
        assert part in words
    assert command(["simulate", str(trace), "--model", MODEL, "--json", "-o", str(out)]) == 0
    body = json.loads(capsys.readouterr().out)
    kept = read_json(out / "summary.json", "simulation")
    assert {key: kept[key] for key in body} == body
    served = read_served(out / "served.parquet")
    assert len(served) == body["requests"] == 60
    assert body["deployment"]["max_num_seqs"] > 60  # the engine's default
    parts_j = [served[column].sum() for column in ("prefill_j", "decode_j", "idle_j")]
    assert sum(parts_j) == pytest.approx(body["energy_j"], rel=1e-9)
    assert body["prefill_j_per_request"] == pytest.approx(parts_j[0] / 60)
    assert body["origin"] == "modelled"
    power = read_parquet(out / "power.parquet", "power", ("t_s", "power_w"))
    assert power["power_w"].min() > 0
    assert read_json(out / "provenance.json", "provenance")["inputs"].keys() == {"workload"}


@pytest.mark.slow
def test_same_seed_gives_the_same_bytes_in_two_processes(tmp_path: Path) -> None:
    outs = [tmp_path / name for name in ("one", "two", "three")]
    code = "import sys, wattlane.sim as s; s.run('azure-code', sys.argv[1], model='Qwen3-8B', seed=int(sys.argv[2]))"
    for out, seed in zip(outs, ("5", "5", "6"), strict=True):
        subprocess.run([sys.executable, "-c", code, str(out), seed], check=True)
    for name in ("served.parquet", "power.parquet", "summary.json"):
        one, two, three = ((out / name).read_bytes() for out in outs)
        assert one == two
        assert one != three


def test_limits_and_knobs_reach_the_replay(trace: Path) -> None:
    plain = run(trace, model=MODEL)
    narrow = run(trace, model=MODEL, max_num_seqs=2, max_num_batched_tokens=64)
    assert narrow.replay.deployment.max_num_seqs == 2
    assert narrow.latency.ttft_p99_s > plain.latency.ttft_p99_s
    small = run(trace, model=MODEL, max_num_batched_tokens=16)
    assert small.replay.deployment.max_num_seqs == 16
    held = run(trace, model=MODEL, release_window_s=0.5)
    assert held.latency.ttft_p50_s > plain.latency.ttft_p50_s
    slow = run(trace, model=MODEL, clock_hz=8e8)
    assert slow.latency.ttft_p50_s > plain.latency.ttft_p50_s
    assert slow.ledger.metered_j < plain.ledger.metered_j
    capped = run(trace, model=MODEL, power_cap_w=200.0)
    assert capped.replay.replicas[0].record[:, 2].max() <= 200.0 * (1 + 1e-9)
    two = run(trace, model=MODEL, replicas=2)
    assert two.ledger.idle_j > plain.ledger.idle_j
    strict = run(trace, model=MODEL, slo=Slo(1e-6, 1e-6))
    assert strict.latency.slo_attainment == 0.0


def test_answers_of_one_token_and_runs_without_a_completion_have_absent_ratios(tmp_path: Path) -> None:
    one = run(Workload([0.0], [50], [1]), model=MODEL).as_dict()
    assert one["decode_j_per_decoded_token"] is None
    assert one["tbt_p50_s"] is None
    none = run(Workload([0.0], [50_000_000], [1]), tmp_path, model=MODEL).as_dict()
    assert (none["failed"], none["energy_j_per_request"], none["slo_attainment"]) == (1, None, 0.0)
    assert pl.read_parquet(tmp_path / "served.parquet")["outcome"].to_list() == ["refused"]


def test_refused_runs_print_absent_instead_of_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    big = tmp_path / "big.csv"
    big.write_text("arrival_s,input_tokens,output_tokens\n0,50000000,1\n", encoding="utf-8")
    assert command(["simulate", str(big), "--model", MODEL, "-o", str(tmp_path / "run")]) == 0
    assert "ttft            p50 absent" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"workload": "azure-nothing"}, "no such shape; shapes: azure-code, azure-conv"),
        ({"workload": "nowhere.csv"}, "nowhere.csv: no such file"),
        ({"max_num_seqs": 0}, "max_num_seqs is 0"),
        ({"max_num_seqs": 4096, "max_num_batched_tokens": 512}, "below max_num_seqs 4096"),
        ({"gpu_memory_utilization": 0.0}, "gpu_memory_utilization is 0.0"),
        ({"model": "Llama-3.1-70B-Instruct"}, "use more GPUs or a lower precision"),
        ({"clock_hz": 9e9}, "clock_hz is 9e+09"),
    ],
)
def test_what_cannot_be_simulated_is_refused_by_name(changes: dict[str, object], said: str) -> None:
    asked = {"workload": "azure-code", "model": MODEL} | changes
    with pytest.raises(InputError, match=said.replace("+", "\\+")):
        run(asked.pop("workload"), **asked)


def test_unknown_names_and_missing_arguments_give_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnknownNameError, match="unknown GPU"):
        run("azure-code", model=MODEL, gpu="H1000")
    assert command(["simulate", "azure-code"]) == 1
    assert "simulate needs a WORKLOAD, --model or --fleet, and -o" in capsys.readouterr().err


def test_package_offers_its_calls_by_name() -> None:
    assert wattlane.sim.run is run
    assert set(dir(wattlane.sim)) >= {"compare", "run"}
    with pytest.raises(AttributeError, match="no attribute 'walk'"):
        wattlane.sim.walk  # noqa: B018
