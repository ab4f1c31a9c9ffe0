"""A sweep from a file: what its points are, that it goes on where it stopped, that a cluster gives the same rows."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from wattlane.cli.app import run as command
from wattlane.core.errors import FileFormatError, InputError, MeasurementError
from wattlane.core.facts.gpus import gpu
from wattlane.core.files import read_json, read_parquet
from wattlane.core.types import Slo
from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.model.profile import profile_for, write_profile
from wattlane.sim import run_points
from wattlane.sim.sweep import OnRay, run_sweep
from wattlane.sim.sweep.points_file import read_points

MODEL = 'model = "Llama-3.1-8B"\n'
GRID = (
    MODEL + "max_num_seqs = [4, 16]\nclock_mhz = [1200.0, 1980.0]\npark_after_s = 0.4\n[law]\nstatic_w = [0.9, 1.0]\n"
)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    path = tmp_path / "trace.csv"
    columns = {"arrival_s": np.cumsum(rng.exponential(0.5, 40)), "input_tokens": rng.integers(20, 3000, 40)}
    pl.DataFrame({**columns, "output_tokens": rng.integers(1, 60, 40)}).write_csv(path)
    return path


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_lists_of_a_toml_multiply_and_reach_the_law(tmp_path: Path) -> None:
    points, settings = read_points(written(tmp_path / "p.toml", GRID))
    assert len(points) == len(settings) == 8
    assert points[0].name == "max_num_seqs=4,clock_mhz=1200.0,law.static_w=0.9"
    assert points[0].law[it.STATIC_W] == pytest.approx(0.9 * points[1].law[it.STATIC_W])
    assert points[0].law[it.FLOP_PER_S] < points[2].law[it.FLOP_PER_S]
    assert {p.deployment.max_num_seqs for p in points} == {4, 16}
    assert {p.park_after_s for p in points} == {0.4}


def test_rows_of_a_csv_are_points(tmp_path: Path) -> None:
    written(tmp_path / "grid.csv", "t_s,per_kwh\n0,100\n9.5,300\n")
    head = "name,tensor_parallel,power_cap_w,idle_w,park_w,gco2e_per_kwh,usd_per_kwh"
    text = f"{head}\na,2,300,70,20,grid.csv,0.36\n,,,,,,\n"
    (a, b), settings = read_points(written(tmp_path / "p.csv", text), {"model": "Llama-3.1-8B"})
    assert (a.name, b.name) == ("a", "2")
    assert (a.law[it.LIMIT_W], a.law[it.IDLE_W], a.park_w) == (600.0, 140.0, 40.0)
    assert a.price is not None
    assert a.price.per_j[0] == pytest.approx(1e-7)
    assert a.carbon is not None
    assert a.carbon.per_j.tolist() == pytest.approx([100 / 3.6e6, 300 / 3.6e6])
    assert (b.price, b.carbon) == (None, None)
    assert settings[0]["model"] == "Llama-3.1-8B"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.toml", "model =", "not valid TOML"),
        ("p.toml", 'model = "Llama-3.1-8B"\nreplicas = []\n', "found no points"),
        ("p.toml", MODEL + "batch = 3\nreplicas = 0\n", "2 problems"),
        ("p.toml", 'model = "No-Such"\n', "unknown model"),
        ("p.toml", MODEL + "law = 3\n", "unknown key 'law'"),
        ("p.toml", MODEL + "[law]\nwatts = 2.0\n", "law.watts is no coefficient"),
        ("p.toml", MODEL + "[law]\nstatic_w = [0.0, true]\n", "expected a factor above 0"),
        ("p.toml", MODEL + 'usd_per_kwh = "none.csv"\n', "no such file"),
        ("p.toml", MODEL + f"law.static_w = {[-1.0] * 30}\n", "and 10 more"),
        ("p.csv", "", "not a readable CSV"),
    ],
)
def test_wrong_points_are_said_at_once(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_points(written(tmp_path / name, text))


def test_wrong_series_are_refused(tmp_path: Path) -> None:
    written(tmp_path / "grid.csv", "t_s,usd\n0,100\n")
    with pytest.raises(InputError, match="columns t_s and per_kwh"):
        read_points(written(tmp_path / "p.toml", MODEL + 'usd_per_kwh = "grid.csv"\n'))
    with pytest.raises(FileFormatError):
        read_points(written(tmp_path / "q.csv", "a\n\xff,2,3\n"))


def test_a_sweep_goes_on_where_it_stopped_and_works_out_only_what_is_new(tmp_path: Path, trace: Path) -> None:
    grid = written(tmp_path / "p.toml", GRID)
    whole = run_points(trace, grid, tmp_path / "whole")
    assert whole.as_dict()["points"] == 8

    stopped = []

    def stop(_step: str, done: int, _of: int, _words: str) -> None:
        stopped.append(done)
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_points(trace, grid, tmp_path / "part", report=stop)
    log = tmp_path / "part" / "points.jsonl"
    log.write_text(log.read_text() + '{"cut off', encoding="utf-8")
    again = run_points(trace, grid, tmp_path / "part")
    assert again.resumed == 3
    for name in ("sweep.parquet", "summary.json"):
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    more = run_points(trace, grid, tmp_path / "part", slo=Slo(0.01, 0.01))
    assert more.resumed == 0, "attainment depends on the targets"


def test_a_resumed_history_gives_the_rows_of_an_unbroken_one(tmp_path: Path, trace: Path) -> None:
    factors = [0.5 + 0.01 * i for i in range(12)]
    text = MODEL + f"[law]\nstatic_w = {factors}\nlimit_w = [0.3, 9.0]\n"
    grid = written(tmp_path / "p.toml", text)
    whole = run_points(trace, grid, tmp_path / "whole")
    assert 12 <= whole.sweep.repriced < 24
    lines = (tmp_path / "whole" / "points.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "points.jsonl").write_text("".join(lines[1:4]), encoding="utf-8")
    again = run_points(trace, grid, tmp_path / "part")
    assert 0 < again.resumed < 24
    assert again.table.equals(whole.table)


class FakeRay:
    """Ray's few calls, in this process; the task that ends first is the one submitted last."""

    def __init__(self, fail: Exception | None = None) -> None:
        self.fail, self.options, self.most = fail, {}, 0

    def init(self, **options):
        self.options["init"] = options

    def cluster_resources(self):
        return {"CPU": 2.0}

    def remote(self, **options):
        self.options["task"] = options
        return lambda work: SimpleNamespace(remote=lambda shared, job: (work, shared, job))

    def put(self, shared):
        return shared

    def wait(self, references, num_returns):
        self.most = max(self.most, len(references))
        return [references[-1]], references[:-1]

    def get(self, reference):
        if self.fail is not None:
            raise self.fail
        work, shared, job = reference
        return work(shared, job)


def small() -> Workload:
    rng = np.random.default_rng(3)
    return Workload(np.cumsum(rng.exponential(0.5, 20)), rng.integers(20, 900, 20), rng.integers(1, 30, 20))


def test_a_cluster_gives_the_rows_of_threads(tmp_path: Path) -> None:
    points, _ = read_points(written(tmp_path / "p.toml", MODEL + f"max_num_seqs = {list(range(1, 20))}\n"))
    ray = FakeRay()
    found = run_sweep(small(), points, spread=OnRay("auto", ray))
    assert found.table.equals(run_sweep(small(), points).table)
    assert ray.options["init"]["address"] == "auto"
    assert ray.options["task"]["num_cpus"] == 1
    assert ray.most == 8, "four tasks for each CPU, and no more at once"


def test_a_lost_task_and_a_wrong_point_are_told_apart(tmp_path: Path) -> None:
    points, _ = read_points(written(tmp_path / "p.toml", MODEL))
    with pytest.raises(MeasurementError, match="the node went away"):
        run_sweep(small(), points, spread=OnRay("auto", FakeRay(RuntimeError("a trace\nthe node went away"))))
    wrong = RuntimeError("on the worker")
    wrong.cause = InputError("max_num_batched_tokens is too small")  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="too small"):
        run_sweep(small(), points, spread=OnRay("auto", FakeRay(wrong)))


def test_a_profile_of_ones_own_is_asked(tmp_path: Path, trace: Path) -> None:
    shipped = profile_for(gpu("H100"))
    dense = shipped.families["dense"]
    slow = {**dense.parameters, "host_s": 10 * dense.parameters["host_s"]}
    own = replace(shipped, families={**shipped.families, "dense": replace(dense, parameters=slow)})
    write_profile(own, tmp_path / "own.json")
    grid = written(tmp_path / "p.toml", MODEL)
    plain = run_points(trace, grid, tmp_path / "a")
    found = run_points(trace, grid, tmp_path / "b", profile=tmp_path / "own.json")
    assert found.table["ttft_p50_s"][0] > plain.table["ttft_p50_s"][0]
    assert "profile" in found.provenance.inputs


def test_verb_says_what_was_repriced(tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid, out = written(tmp_path / "p.toml", "idle_w = [60.0, 70.0]\nreplicas = [1, 2]\n"), tmp_path / "run"
    options = [str(trace), str(grid), "--set", "model=Llama-3.1-8B", "-o", str(out)]
    assert command(["sweep", *options]) == 0
    words = capsys.readouterr().out
    assert "4 points: 2 re-priced, 2 replayed; 0 from an earlier run" in words
    assert words.splitlines()[2].startswith("idle_w=60.0,replicas=1")
    table = read_parquet(out / "sweep.parquet", "sweep")
    assert table["set.replicas"].to_list() == [1, 2, 1, 2]
    assert command(["sweep", *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["repriced"] == 2
    assert read_json(out / "summary.json", "sweep")["origin"] == "modelled"


def test_ray_that_is_not_there_is_named(
    tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    grid = written(tmp_path / "p.toml", MODEL)
    assert command(["sweep", str(trace), str(grid), "-o", str(tmp_path / "run"), "--ray", "auto"]) == 1
    assert "wattlane[ray]" in capsys.readouterr().err
