"""A stream from files: drawn or read window by window; taken up where it stopped, with the bytes of an unbroken one."""

from __future__ import annotations

import json
from pathlib import Path

import numba
import numpy as np
import polars as pl
import pytest

from wattlane.cli.app import run as command
from wattlane.core.errors import FileFormatError, InputError
from wattlane.core.files import read_json, read_parquet
from wattlane.core.types import Slo
from wattlane.sim import run_fleet, run_stream
from wattlane.workload.streaming import made_stream, read_stream

pytestmark = [] if numba.config.DISABLE_JIT else [pytest.mark.slow]

FLEET = 'model = "Llama-3.1-8B"\n[[pool]]\ngpu = "H100"\nreplicas = 2\n'
SPEC = """requests = 90
window_requests = 20
arrival = "kind=diurnal,rate_rps=4,period_s=60,peak_s=20"
lengths = "kind=lognormal,input_mean_tokens=200,input_sd_tokens=100,output_mean_tokens=20,output_sd_tokens=10"
"""


def files(folder: Path, spec: str = SPEC, fleet: str = FLEET) -> tuple[Path, Path]:
    paths = folder / "stream.toml", folder / "fleet.toml"
    for path, text in zip(paths, (spec, fleet), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def test_a_stopped_stream_gives_the_bytes_of_an_unbroken_one(tmp_path: Path) -> None:
    spec, fleet = files(tmp_path)
    whole = run_stream(spec, fleet, tmp_path / "whole")
    assert (whole.windows, whole.resumed, whole.totals.requests) == (5, 0, 90)

    def stop(_step: str, done: int, _of: int, _words: str) -> None:
        if done == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stream(spec, fleet, tmp_path / "part", report=stop)
    again = run_stream(spec, fleet, tmp_path / "part")
    assert again.resumed == 2
    for name in ("summary.json", "windows.parquet"):
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert run_stream(spec, fleet, tmp_path / "part").resumed == 5, "a finished stream is not served again"
    with pytest.raises(InputError, match="state of another stream"):
        run_stream(spec, fleet, tmp_path / "part", Slo(0.1, 0.1))
    (tmp_path / "part" / "state.npz").write_bytes(b"cut off")
    with pytest.raises(FileFormatError, match="remove it to begin anew"):
        run_stream(spec, fleet, tmp_path / "part")


def test_more_replicas_than_requests_are_kept_and_taken_up(tmp_path: Path) -> None:
    few = SPEC.replace("requests = 90", "requests = 3").replace("window_requests = 20", "window_requests = 2")
    spec, fleet = files(tmp_path, few, FLEET.replace("replicas = 2", "replicas = 5"))
    whole = run_stream(spec, fleet, tmp_path / "run")
    assert whole.totals.served == 3
    assert whole.totals.ledger.balanced(1e-9)
    summary = (tmp_path / "run" / "summary.json").read_bytes()
    run_stream(spec, fleet, tmp_path / "run")
    assert (tmp_path / "run" / "summary.json").read_bytes() == summary


def test_a_stream_read_from_a_file_is_the_fleet_run_of_that_file(tmp_path: Path) -> None:
    made = made_stream("kind=poisson,rate_rps=5", "kind=fixed,input_tokens=300,output_tokens=12", 60, 25, seed=4)
    parts = list(made.windows())
    columns = {name: np.concatenate([getattr(p, name) for p in parts]) for name in ("arrival_s", "input_tokens")}
    columns["output_tokens"] = np.concatenate([p.output_tokens for p in parts])
    pl.DataFrame(columns).write_parquet(tmp_path / "trace.parquet")
    spec, fleet = files(tmp_path, 'file = "trace.parquet"\nwindow_requests = 13\n')
    slo = Slo(0.05, 0.02)
    found = run_stream(spec, fleet, tmp_path / "run", slo).as_dict()
    true = run_fleet(tmp_path / "trace.parquet", fleet, slo=slo).as_dict()
    for name in ("requests", "refused", "preemptions", "iterations", "input_tokens", "output_tokens"):
        assert found[name] == true[name], name
    for name in ("energy_j", "energy_j_per_request", "horizon_s", "slo_attainment"):
        assert found[name] == pytest.approx(true[name], rel=1e-9), name
    for name in ("ttft_p50_s", "tbt_p50_s", "e2e_p50_s", "e2e_p99_s"):
        assert found[name] == pytest.approx(true[name], rel=0.02), name
    assert abs(found["ledger_residual_j"]) < 1e-9 * found["energy_j"]
    rows = read_parquet(tmp_path / "run" / "windows.parquet", "windows")
    assert rows["requests"].to_list() == [13, 13, 13, 13, 8]
    assert rows["served"].sum() == 60
    assert rows["busy_j"].sum() + rows["idle_j"].sum() <= found["energy_j"] * (1 + 1e-12)


def test_a_window_does_not_depend_on_those_before_it() -> None:
    stream = made_stream("kind=gamma,rate_rps=5,cv=2", "kind=shape,name=azure-conv", 70, 30, seed=1)
    whole = list(stream.windows())
    assert [len(w) for w in whole] == [30, 30, 10]
    (again, _) = stream.windows(1, float(whole[0].arrival_s[-1]))
    assert np.array_equal(again.arrival_s, whole[1].arrival_s)
    assert np.array_equal(again.input_tokens, whole[1].input_tokens)
    assert not np.array_equal(whole[0].output_tokens, whole[1].output_tokens)
    assert "kind=gamma" in str(stream)


def test_the_day_goes_on_from_window_to_window() -> None:
    spec = "kind=diurnal,rate_rps=50,period_s=100,profile=0:0:4:0"
    stream = made_stream(spec, "kind=fixed,input_tokens=1,output_tokens=1", 12_000, 700, seed=2)
    arrival_s = np.concatenate([w.arrival_s for w in stream.windows()])
    assert (np.diff(arrival_s) >= 0).all()
    assert ((arrival_s % 100 >= 50) & (arrival_s % 100 <= 75)).all(), "only the third quarter of the period is busy"
    assert len(arrival_s) / arrival_s[-1] == pytest.approx(50, rel=0.15)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("requests =", "not valid TOML"),
        ("requests = 0\nrate = 3\n", "2 problems"),
        ("requests = 5\n", "expected file alone, or requests, arrival and lengths"),
        (SPEC + 'file = "x.parquet"\n', "expected file alone"),
        (SPEC.replace("kind=diurnal,rate_rps=4,period_s=60,peak_s=20", "kind=burst"), "drawn window by window"),
        (SPEC.replace("rate_rps=4", "rate_rps=-4"), "rate_rps"),
        ('file = "none.parquet"\n', "no such file"),
    ],
)
def test_wrong_streams_are_refused(tmp_path: Path, spec: str, words: str) -> None:
    paths = files(tmp_path, spec)
    with pytest.raises(InputError, match=words):
        run_stream(*paths, tmp_path / "run")


@pytest.mark.parametrize(
    ("fleet", "words"),
    [
        (FLEET + '[[pool]]\ngpu = "H100"\n', "2 pools"),
        ('routing = "least-loaded"\n' + FLEET, "least-loaded routing"),
        (FLEET + "[[failure]]\nreplica = 0\nat_s = 1.0\nup_s = 2.0\n", "failures"),
        (FLEET + "[pool.engine]\nprefix_cache = true\n", "found a prefix cache; a stream takes none"),
        (FLEET + '[release]\nkind = "windowed"\nwindow_s = 1.0\n', "windowed release"),
    ],
)
def test_fleets_a_stream_cannot_be_served_on_are_refused(tmp_path: Path, fleet: str, words: str) -> None:
    paths = files(tmp_path, SPEC, fleet)
    with pytest.raises(InputError, match=words):
        run_stream(*paths, tmp_path / "run")


def test_files_that_are_no_stream_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"no")
    with pytest.raises(FileFormatError, match="not a readable Parquet"):
        read_stream(tmp_path / "a.parquet", 10)
    pl.DataFrame({"arrival_s": [0.0]}).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(FileFormatError, match="missing columns input_tokens, output_tokens"):
        read_stream(tmp_path / "b.parquet", 10)
    pl.DataFrame({"arrival_s": [], "input_tokens": [], "output_tokens": []}).write_parquet(tmp_path / "c.parquet")
    with pytest.raises(InputError, match="no requests"):
        read_stream(tmp_path / "c.parquet", 10)


def test_verb_prints_sums_and_progress(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, fleet = files(tmp_path)
    options = ["stream", str(spec), "--fleet", str(fleet), "-o", str(tmp_path / "run")]
    assert command(options) == 0
    told = capsys.readouterr()
    assert "requests        90, 0 refused" in told.out
    assert "5, 0 of them from an earlier run" in told.out
    assert "SLO attainment  100.00%" in told.out
    assert "of 90" in told.err
    assert command([*options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["windows"] == 5
    assert read_json(tmp_path / "run" / "summary.json", "stream simulation")["origin"] == "modelled"
