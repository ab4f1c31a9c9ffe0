"""`wattlane plan configure` from a file to a certified, replayed, explained plan."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from wattlane.cli.app import app, run
from wattlane.core.errors import FileFormatError, InfeasibleError, InputError
from wattlane.core.workload import Workload
from wattlane.plan.configure.certify import certify
from wattlane.plan.configure.explain import explain
from wattlane.plan.configure.files import read
from wattlane.plan.configure.run import configure
from wattlane.plan.configure.solve import solve

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))
from configure_scenes import brute_force

QUESTION = """
name = "small"
seed = 1
[workload]
file = "trace.csv"
[demand]
bin_s = 60.0
[classes]
poolings = {poolings}
[slo]
{slo}
attainment = 0.9
[[fleet]]
gpu = "H100"
count = {count}
[[models]]
name = "meta-llama/Llama-3.1-8B-Instruct"
quality = 0.6
[knobs]
tensor_parallel = [1, 2]
max_num_seqs = [16, 64]
clock_steps = {clocks}
[changes]
start_s = 2.0
{more}
"""
SLO = "isolated_factor = 10.0"


def trace(folder: Path, rate_per_s: float, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    arrival = np.cumsum(rng.exponential(1 / rate_per_s, int(180 * rate_per_s)))
    prompt, answer = (rng.lognormal(5.5, 1.0, len(arrival)).clip(1, 4000) for _ in range(2))
    asked = Workload(arrival, prompt.astype(int), (answer / 4 + 1).astype(int))
    pl.DataFrame(
        {"arrival_s": asked.arrival_s, "input_tokens": asked.input_tokens, "output_tokens": asked.output_tokens}
    ).write_csv(folder / "trace.csv")


def question(folder: Path, **changes: Any) -> Path:
    values = {"poolings": '["one"]', "slo": SLO, "count": 4, "clocks": 3, "more": ""} | changes
    file = folder / "question.toml"
    file.write_text(QUESTION.format(**values))
    return file


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("configure")
    trace(folder, 6.0)
    said: list[str] = []
    plan = configure(question(folder, poolings='["one", "by-output"]'), folder / "out", progress=said.append)
    assert any("performance map" in words for words in said)
    assert plan.found.gap <= 0.01
    return folder / "out"


def test_the_replayed_plan_keeps_every_class_and_saves_against_the_single_pool(planned: Path) -> None:
    body = json.loads((planned / "plan.json").read_text())
    assert body["verified"]["short"] == []
    assert min(body["verified"]["attainment"].values()) >= 0.9
    assert body["verified"]["offered"] == 1080
    assert body["saving_fraction"] > 0.0
    # the promise is made from averages; the trace is what it is
    assert body["verified"]["energy_j"] == pytest.approx(body["energy_j"], rel=0.15)
    assert body["under"]["1.5 times the forecast"]["offered"] == 1620
    assert body["certified_bound"] <= body["objective"]


def test_the_files_certify_without_a_solver(planned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wattlane.plan.configure.highs.solve", None)
    found = certify(planned / "plan.json", planned.parent / "trace.csv")
    assert found.holds
    assert found.lines()[0].startswith("holds")
    assert 0.0 <= found.certified_gap < 0.2
    assert found.as_dict()["holds"] is True


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("counts.parquet", lambda t: t.head(len(t) - 1), "serves"),
        ("counts.parquet", lambda t: t.with_columns(pl.col("instances") + 9), "uses"),
        ("map.parquet", lambda t: t.with_columns(pl.col("power_w") * 0.9), "the objective is"),
    ],
)
def test_a_tampered_plan_does_not_certify(planned: Path, tmp_path: Path, file: str, change: Any, words: str) -> None:
    for name in ("plan.json", "map.parquet", "counts.parquet"):
        (tmp_path / name).write_bytes((planned / name).read_bytes())
    change(pl.read_parquet(tmp_path / file)).write_parquet(tmp_path / file)
    found = certify(tmp_path / "plan.json")
    assert not found.holds
    assert words in "\n".join(found.lines())


def test_a_plan_of_another_workload_and_broken_files_are_named(planned: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("arrival_s,input_tokens,output_tokens\n0,1,1\n")
    assert "another hash" in "\n".join(certify(planned / "plan.json", other).lines())
    for name in ("plan.json", "map.parquet", "counts.parquet"):
        (tmp_path / name).write_bytes((planned / name).read_bytes())
    pl.DataFrame({"bin": [99], "mode": [0], "instances": [1]}).write_parquet(tmp_path / "counts.parquet")
    with pytest.raises(FileFormatError, match="do not fit together"):
        certify(tmp_path / "plan.json")
    body = json.loads((planned / "plan.json").read_text())
    del body["prices"]
    (tmp_path / "plan.json").write_text(json.dumps(body))
    with pytest.raises(FileFormatError, match="missing keys prices"):
        certify(tmp_path / "plan.json")


def test_an_explanation_names_what_binds_what_knobs_bring_and_ties(planned: Path) -> None:
    found = explain(planned / "plan.json")
    words = "\n".join(found.lines())
    assert "parked GPUs" in words
    assert "without clock_hz the plan costs" in words
    assert "pooling by-output" in words or "pooling one" in words
    assert "one sd" in words
    assert {part["knob"] for part in found.as_dict()["knobs"]} >= {"clock_hz", "max_num_seqs"}


def test_same_question_same_bytes(planned: Path, tmp_path: Path) -> None:
    folder = planned.parent
    configure(folder / "question.toml", tmp_path)
    for name in ("plan.json", "map.parquet", "counts.parquet"):
        assert (tmp_path / name).read_bytes() == (planned / name).read_bytes(), name


@pytest.mark.slow
def test_s7_the_saving_against_the_single_pool_falls_with_load(tmp_path: Path) -> None:
    savings = []
    for rate in (3.0, 40.0):
        trace(tmp_path, rate)
        plan = configure(question(tmp_path, count=2, clocks=4))
        assert plan.verified.keeps
        assert plan.saving_fraction is not None
        savings.append(plan.saving_fraction)
    assert savings[0] > savings[1]


def test_targets_nobody_can_keep_are_named_with_the_pool(tmp_path: Path) -> None:
    trace(tmp_path, 3.0)
    with pytest.raises(InfeasibleError, match=r"pool SS.*none of 12 configurations keeps TTFT 1e-05 s"):
        configure(question(tmp_path, slo="ttft_s = 0.00001"))


def test_a_fleet_that_is_too_small_is_told_how_much_it_is_short(tmp_path: Path) -> None:
    trace(tmp_path, 60.0)
    with pytest.raises(InfeasibleError, match=r"short of \d+ H100"):
        configure(question(tmp_path, count=1, clocks=1))


def test_money_and_carbon_series_need_a_value_a_bin(tmp_path: Path) -> None:
    trace(tmp_path, 3.0)
    more = '[objective]\nleast = "carbon"\ngco2e_per_kwh_series = {site = [1.0], moon = [2.0]}'
    with pytest.raises(InputError, match=r"no such site(.|\n)*has 1 values; expected 4"):
        configure(question(tmp_path, more=more, clocks=1))


def test_the_work_follows_the_cleaner_site(tmp_path: Path) -> None:
    trace(tmp_path, 3.0)
    more = (
        '[[fleet]]\ngpu = "H100"\ncount = 4\nsite = "north"\n'
        '[objective]\nleast = "carbon"\ngco2e_per_kwh_series = {site = [900, 10, 900, 10], north = [10, 900, 10, 900]}'
    )
    plan = configure(question(tmp_path, more=more, clocks=1), tmp_path / "out")
    used = plan.problem.gpus_used(plan.found.counts)
    assert (used.argmax(axis=1) == [1, 0, 1, 0]).all()
    assert certify(tmp_path / "out" / "plan.json").holds
    assert "gCO2e" in next(plan.lines())


def test_a_cap_on_watts_is_kept_or_told_how_much_is_needed(tmp_path: Path) -> None:
    trace(tmp_path, 12.0)
    free = configure(question(tmp_path))
    watts = float((free.found.counts @ free.problem.extra_w).max() + free.problem.gpu_count @ free.problem.parked_w)
    capped = configure(question(tmp_path, more=f"[limits]\ncluster_cap_w = {watts + 1.0}"), tmp_path / "out")
    assert (capped.found.counts @ capped.problem.extra_w <= capped.problem.room_w + 1e-6).all()
    assert capped.found.cost.total >= free.found.cost.total * (1 - 1e-9)
    with pytest.raises(InfeasibleError, match=r"needs \d+ W; the cap is"):
        configure(question(tmp_path, more="[limits]\ncluster_cap_w = 300.0", clocks=1))


def test_s6_on_a_reduced_real_map_the_plan_equals_exhaustive_search(planned: Path) -> None:
    kept = read(planned / "plan.json")
    m = kept.problem.modes
    several = [rows for p in set(m.pool.tolist()) if len(rows := np.flatnonzero(m.pool == p)) >= 4]
    for seed in range(3):
        rng = np.random.default_rng(seed)
        # four modes in all, at least one of each pool, the fastest of its pool among them
        fastest = [rows[np.argmax(m.rate_per_s[rows])] for rows in several]
        others = rng.choice(np.setdiff1d(np.concatenate(several), fastest), 4 - len(fastest), replace=False)
        reduced = replace(kept.problem, modes=m.take(np.sort(np.concatenate([fastest, others]))))
        found = solve(reduced, gap=0.0)
        assert found.cost.total == pytest.approx(brute_force(reduced), rel=1e-9)


def test_a_quality_floor_above_every_model_serves_nobody(tmp_path: Path) -> None:
    trace(tmp_path, 3.0)
    with pytest.raises(InfeasibleError, match="a lower quality floor"):
        configure(question(tmp_path, more="[quality]\nfloor = 0.9", clocks=1))


def test_a_baseline_larger_than_the_fleet_is_refused(tmp_path: Path) -> None:
    trace(tmp_path, 3.0)
    with pytest.raises(InputError, match=r"baseline.instances is 9; 4 GPUs hold 2 of them"):
        configure(question(tmp_path, more="[baseline]\ninstances = 9", clocks=1))
    plan = configure(question(tmp_path, more="[baseline]\ninstances = 2", clocks=1))
    assert plan.baseline is not None
    assert plan.baseline.instances == 2
    assert "less energy than 2 x H100 TP2 at maximum clock in one pool" in "\n".join(plan.lines())


def test_money_counts_rent_and_energy_and_names_what_is_left_alone(tmp_path: Path) -> None:
    trace(tmp_path, 3.0)
    more = (
        '[objective]\nleast = "money"\nusd_per_kwh = 0.1\n[limits]\n[quality]\nfloor = 0.5\n[baseline]\ninstances = 4\n'
    )
    file = question(tmp_path, more=more, clocks=3, poolings='["nine"]')
    text = file.read_text().replace("clock_steps = 3", 'clock_steps = 3\nuncontrollable = {clock_hz = "no root here"}')
    text = text.replace("count = 4", "count = 12\nusd_per_gpu_hour = 2.0")
    for bounds in ('bounds = "given"\ninput_tokens = [200, 400]\noutput_tokens = [40, 90]', 'bounds = "dynamollm"'):
        file.write_text(text.replace("[classes]", f"[classes]\n{bounds}"))
        plan = configure(file)
        words = "\n".join(plan.lines())
        assert "USD" in words
        assert "left alone: clock_hz: no root here" in words
        hours = plan.problem.gpus_used(plan.found.counts).sum() * plan.problem.bin_s / 3600
        assert plan.found.cost.run > 2.0 * hours


def test_names_nobody_knows_and_models_that_fit_nowhere_are_refused(tmp_path: Path) -> None:
    trace(tmp_path, 3.0)
    file = question(tmp_path)
    text = file.read_text()
    file.write_text(text.replace('gpu = "H100"', 'gpu = "H999"').replace("Llama-3.1-8B-Instruct", "Llama-9"))
    with pytest.raises(InputError, match=r"H999(.|\n)*Llama-9"):
        configure(file)
    file.write_text(text.replace("Llama-3.1-8B-Instruct", "Llama-3.1-405B-Instruct"))
    with pytest.raises(InputError, match="none of the models fits"):
        configure(file)
    with pytest.raises(InputError, match="isolated_tensor_parallel is 8; expected one of"):
        configure(question(tmp_path, slo=SLO + "\nisolated_tensor_parallel = 8"))
    file.write_text(text.replace("clock_steps = 3", 'clock_steps = 3\nuncontrollable = {speed = "x"}'))
    with pytest.raises(InputError, match="uncontrollable names speed"):
        configure(file)


def test_the_verb_prints_writes_and_exits_with_three_where_nothing_fits(planned: Path, tmp_path: Path) -> None:
    trace(tmp_path, 3.0)
    file = question(tmp_path, clocks=1)
    done = CliRunner().invoke(app, ["plan", "configure", str(file), "-o", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "out" / "plan.json").read_text())["name"] == "small"
    assert CliRunner().invoke(app, ["certify", str(tmp_path / "out" / "plan.json")]).exit_code == 0
    assert CliRunner().invoke(app, ["explain", str(tmp_path / "out" / "plan.json")]).exit_code == 0
    assert run(["plan", "configure", str(question(tmp_path, slo="ttft_s = 0.00001"))]) == 3
    assert run(["plan", "configure", str(tmp_path / "no.toml")]) == 1
