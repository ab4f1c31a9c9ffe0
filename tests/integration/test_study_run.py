"""A whole study: the answer adds up, comes out the same every time, and survives being interrupted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tiny_study import write_study
from wattlane.core.errors import InfeasibleError, InputError
from wattlane.core.files import read_json, read_parquet
from wattlane.core.served import latency, read_served
from wattlane.core.types import Deployment, Slo
from wattlane.core.workload import Workload
from wattlane.plan import uncertainty
from wattlane.plan.scenario import Scenario, Score
from wattlane.study import run

SLO = Slo(1.0, 0.05, 0.95)
SIDE = {
    "requests": int,
    "failed": int,
    "energy_j": float,
    "energy_j_per_request": float,
    "ttft_p99_s": float,
    "tbt_p99_s": float,
    "slo_attainment": float,
    "replicas": int,
}
FILES = {
    "study.toml",
    "summary.json",
    "served.parquet",
    "baseline-served.parquet",
    "power.parquet",
    "frontier.parquet",
    "draws.parquet",
    "workload.json",
    "provenance.json",
    "regimes.json",
    ".progress",
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished tiny study; tests only read it."""
    folder = tmp_path_factory.mktemp("study")
    run(write_study(folder / "in"), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def summary(done: Path) -> dict[str, Any]:
    """Its summary."""
    return read_json(done / "summary.json", "summary")


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[Deployment]:
    """Every deployment scored at the best estimate on the whole workload from now on."""
    seen: list[Deployment] = []
    score = Scenario.score

    def counted(self: Scenario, d: Deployment, given: Any = None, workload: Workload | None = None) -> Score:
        if given is None:
            seen.append(d)
        return score(self, d, given, workload)

    monkeypatch.setattr(Scenario, "score", counted)
    return seen


def stop_at(step: str, count: int) -> Callable[[str, int, int, str], None]:
    """Return a progress function that is interrupted at the `count`-th report of a step."""
    told = [0]

    def progress(name: str, _done: int, _of: int, _words: str) -> None:
        told[0] += name == step
        if told[0] == count and name == step:
            raise KeyboardInterrupt

    return progress


def test_the_run_folder_holds_what_is_documented(done: Path) -> None:
    assert {path.name for path in done.iterdir()} == FILES
    page = (Path(__file__).parents[2] / "docs" / "reference" / "files.md").read_text(encoding="utf-8")
    for name in FILES:
        assert f"`{name}" in page


def test_summary_has_the_keys_and_types_of_the_design(summary: dict[str, Any]) -> None:
    assert isinstance(summary["scenario"], dict)
    for side in ("baseline", "plan", "without_clocks", "tuned_baseline"):
        for key, kind in SIDE.items():
            assert type(summary[side][key]) is kind, (side, key)
        assert summary[side]["origin"] == "modelled"
    for key in ("saving_fraction", "saving_without_clocks", "saving_against_tuned", "ledger_residual_j"):
        assert type(summary[key]) is float
    for key in ("saving_interval", "saving_without_clocks_interval", "saving_against_tuned_interval"):
        lo, hi = summary[key]
        assert lo <= hi
    assert all(isinstance(line, str) for lines in summary["commands"].values() for line in lines)
    page = (Path(__file__).parents[2] / "docs" / "reference" / "files.md").read_text(encoding="utf-8")
    for key in summary:
        assert f"`{key}`" in page, key


def test_every_request_is_accounted_for(done: Path, summary: dict[str, Any]) -> None:
    for name, side in (("served.parquet", "plan"), ("baseline-served.parquet", "baseline")):
        rows = read_served(done / name)
        assert len(rows) == 240 == summary[side]["requests"] == summary["scenario"]["workload"]["requests"]
        assert rows["outcome"].is_in(["completed", "refused"]).all()
        assert summary[side]["failed"] == int((rows["outcome"] != "completed").sum())


def test_every_ledger_closes_and_equals_its_rows(done: Path, summary: dict[str, Any]) -> None:
    for account in summary["ledger"].values():
        assert abs(account["residual_j"]) <= 1e-9 * account["metered_j"]
        parts = account["prefill_j"] + account["decode_j"] + account["idle_j"] + account["overhead_j"]
        assert parts + account["residual_j"] == pytest.approx(account["metered_j"], rel=1e-12)
    assert summary["ledger_residual_j"] == summary["ledger"]["plan"]["residual_j"]
    for name, side in (("served.parquet", "plan"), ("baseline-served.parquet", "baseline")):
        rows = read_served(done / name)
        for column in ("prefill_j", "decode_j", "idle_j"):
            assert rows[column].sum() == pytest.approx(summary["ledger"][side][column], rel=1e-9)


def test_the_saving_is_that_of_the_served_rows(done: Path, summary: dict[str, Any]) -> None:
    joules = [
        read_served(done / name).select(pl.sum("prefill_j", "decode_j", "idle_j")).sum_horizontal().item()
        for name in ("baseline-served.parquet", "served.parquet")
    ]
    assert summary["saving_fraction"] == pytest.approx(1 - joules[1] / joules[0], rel=1e-9)
    assert summary["saving_fraction"] == pytest.approx(
        1 - summary["plan"]["energy_j"] / summary["baseline"]["energy_j"], rel=1e-9
    )


def test_attainment_and_percentiles_are_those_of_the_served_rows(done: Path, summary: dict[str, Any]) -> None:
    for name, side in (("served.parquet", "plan"), ("baseline-served.parquet", "baseline")):
        found = latency(read_served(done / name), SLO)
        assert summary[side]["slo_attainment"] == found.slo_attainment
        assert summary[side]["ttft_p99_s"] == found.ttft_p99_s
        assert summary[side]["tbt_p99_s"] == found.tbt_p99_s
        assert found.slo_attainment >= SLO.attainment


def test_the_interval_is_that_of_the_draws(done: Path, summary: dict[str, Any]) -> None:
    draws = read_parquet(done / "draws.parquet", "draws")
    assert len(draws) == 20 == summary["uncertainty"]["draws"]
    assert summary["saving_interval"] == pytest.approx(np.quantile(draws["saving_fraction"], [0.025, 0.975]).tolist())
    assert summary["saving_without_clocks_interval"] == pytest.approx(
        np.quantile(draws["saving_without_clocks"], [0.025, 0.975]).tolist()
    )
    assert summary["slo_kept_share"]["plan"] == float((draws["plan_attainment"] >= SLO.attainment).mean())


def test_power_integrates_to_the_energy_charged(done: Path, summary: dict[str, Any]) -> None:
    power = read_parquet(done / "power.parquet", "power")
    for side in ("baseline", "plan"):
        rows = power.filter(pl.col("run") == side)
        edges_s = [*rows["t_s"].to_list(), summary["scenario"]["horizon_s"]]
        joules = float(np.dot(rows["power_w"].to_numpy(), np.diff(edges_s)))
        assert joules == pytest.approx(summary[side]["energy_j"], rel=1e-9)


def test_the_frontier_holds_the_plan_and_nothing_feasible_below_it(done: Path, summary: dict[str, Any]) -> None:
    frontier = read_parquet(done / "frontier.parquet", "frontier")
    d = summary["plan"]["deployment"]
    knobs = ("max_num_seqs", "max_num_batched_tokens", "replicas", "clock_hz", "release_window_s")
    mine = frontier.filter(pl.all_horizontal(pl.col(k).eq_missing(d[k]) for k in knobs))
    assert len(mine) == 1
    assert mine["energy_j_per_request"].item() == pytest.approx(summary["plan"]["energy_j_per_request"], rel=1e-9)
    assert frontier.select(knobs).is_duplicated().sum() == 0


def test_the_months_saving_is_that_of_the_run(summary: dict[str, Any]) -> None:
    factors = {name: body["value"] for name, body in summary["per_month"]["factors"].items()}
    found = summary["per_month"]["with_privileged"]
    saved_j = summary["baseline"]["energy_j"] - summary["plan"]["energy_j"]
    kwh = saved_j / summary["scenario"]["horizon_s"] * 30.4375 * 86400 / 3.6e6 * factors["pue"]
    assert found["kwh"] == pytest.approx(kwh, rel=1e-9)
    assert found["money"] == pytest.approx(kwh * factors["electricity_usd_per_kwh"], rel=1e-9)


def test_knobs_lead_from_the_baseline_to_the_plan(summary: dict[str, Any]) -> None:
    assert summary["knobs"][-1]["energy_j"] == pytest.approx(summary["plan"]["energy_j"], rel=1e-9)
    assert summary["knobs"][-1]["saving_fraction"] == summary["saving_fraction"]
    assert all(step["from"] != step["to"] for step in summary["knobs"])


def test_same_seed_same_bytes(done: Path, tmp_path: Path) -> None:
    run(write_study(tmp_path / "in"), tmp_path / "run")
    for path in done.iterdir():
        if path.is_file() and path.name != "provenance.json":
            assert (tmp_path / "run" / path.name).read_bytes() == path.read_bytes(), path.name


def test_another_seed_gives_other_draws(done: Path, tmp_path: Path) -> None:
    body = run(write_study(tmp_path / "in"), tmp_path / "run", seed=4)
    assert body["provenance"]["seed"] == body["scenario"]["seed"] == 4
    assert (tmp_path / "run" / "draws.parquet").read_bytes() != (done / "draws.parquet").read_bytes()


def test_a_finished_study_is_returned_without_a_replay(tmp_path: Path, scored: list[Deployment]) -> None:
    study = write_study(tmp_path / "in")
    first = run(study, tmp_path / "run")
    before, told = len(scored), []
    again = run(study, tmp_path / "run", progress=lambda *report: told.append(report))
    assert len(scored) == before > 0
    assert again == first
    assert told[-1][0] == "done"


def test_a_summary_of_no_finished_study_is_not_returned(done: Path, tmp_path: Path, scored: list[Deployment]) -> None:
    study = write_study(tmp_path / "in")
    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path / "run", progress=stop_at("draws", 5))
    (tmp_path / "run" / "summary.json").write_bytes(b"{}")
    run(study, tmp_path / "run")
    assert scored
    assert (tmp_path / "run" / "summary.json").read_bytes() == (done / "summary.json").read_bytes()


@pytest.mark.parametrize(("step", "count"), [("search", 9), ("search", 25), ("draws", 2), ("draws", 12), ("write", 1)])
def test_an_interrupted_study_goes_on_where_it_stopped(
    step: str, count: int, done: Path, tmp_path: Path, scored: list[Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    one_draw = uncertainty.one_draw

    def counted(scenario: Scenario, deployments: Any, seed: int, number: int) -> Any:
        drawn.append(number)
        return one_draw(scenario, deployments, seed, number)

    study, folder = write_study(tmp_path / "in"), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(study, folder, progress=stop_at(step, count))
    assert not (folder / "summary.json").exists()
    progress = folder / ".progress"
    kept = {
        name: (progress / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        for name in ("points", "draws")
        if (progress / f"{name}.jsonl").exists()
    }
    assert len(kept["points"]) >= min(count, 9)
    with (progress / "points.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"deployment": {"mod')  # what a crash may leave
    scored.clear()
    monkeypatch.setattr(uncertainty, "one_draw", counted)
    run(study, folder)
    points = (progress / "points.jsonl").read_text(encoding="utf-8").splitlines()
    assert points[: len(kept["points"])] == kept["points"]
    # only the baseline and what the first run had not reached are scored again
    assert len(set(scored)) == len(scored)
    new = [line for line in points[len(kept["points"]) :] if line.endswith("}")]
    assert len(scored) <= len(new) + 1 + steps_of(folder)
    assert sorted(drawn) == list(range(len(kept.get("draws", ())), 20))
    for name in ("summary.json", "served.parquet", "draws.parquet", "frontier.parquet"):
        assert (folder / name).read_bytes() == (done / name).read_bytes()


def steps_of(folder: Path) -> int:
    """Return how many steps the knob path has: each may be a point of its own."""
    return len(read_json(folder / "summary.json")["knobs"])


def test_a_changed_study_starts_anew(tmp_path: Path, scored: list[Deployment]) -> None:
    folder = tmp_path / "run"
    run(write_study(tmp_path / "in"), folder)
    scored.clear()
    body = run(write_study(tmp_path / "in", ttft_s=0.9), folder)
    assert len(scored) > 20
    assert body["scenario"]["slo"]["ttft_s"] == 0.9


def test_changed_requests_start_anew(tmp_path: Path, scored: list[Deployment]) -> None:
    folder = tmp_path / "run"
    run(write_study(tmp_path / "in"), folder)
    scored.clear()
    assert run(write_study(tmp_path / "in", n=200), folder)["plan"]["requests"] == 200
    assert len(scored) > 20


def test_fresh_forgets_earlier_work(tmp_path: Path, scored: list[Deployment]) -> None:
    study, folder = write_study(tmp_path / "in"), tmp_path / "run"
    run(study, folder)
    before = list(scored)
    scored.clear()
    run(study, folder, fresh=True)
    assert sorted(map(repr, scored)) == sorted(map(repr, before))


def test_a_trace_replaces_the_workload_of_the_study(tmp_path: Path) -> None:
    study = write_study(tmp_path / "in", n=200)
    other = write_study(tmp_path / "other", n=150)
    body = run(study, tmp_path / "run", trace=other.parent / "requests.csv")
    assert body["plan"]["requests"] == 150
    assert set(body["provenance"]["inputs"]) == {"study", "workload"}


def test_without_clocks_the_plan_is_the_plan_without_clocks(tmp_path: Path) -> None:
    body = run(write_study(tmp_path / "in", clock_steps=1), tmp_path / "run")
    assert body["plan"]["deployment"] == body["without_clocks"]["deployment"]
    assert body["saving_fraction"] == body["saving_without_clocks"]
    assert body["saving_interval"] == body["saving_without_clocks_interval"]
    assert body["per_month"]["with_privileged"] == body["per_month"]["without_privileged"]
    assert body["commands"]["clock"] == []


def test_a_baseline_as_good_as_any_plan_is_a_tie(tmp_path: Path) -> None:
    line = "vllm serve meta-llama/Llama-3.1-8B-Instruct --max-num-seqs 64 --max-num-batched-tokens 1024 --seed 7"
    study = write_study(tmp_path / "in", baseline=f'command = "{line}"', clock_steps=1)
    study.write_text(study.read_text().replace("[0.0, 0.1]", "[0.0]"), encoding="utf-8")
    body = run(study, tmp_path / "run")
    assert body["plan"]["deployment"] == body["baseline"]["deployment"]
    assert body["saving_interval"] == [0.0, 0.0]
    assert body["verdict"] == "no saving shown"
    assert body["uncertainty"]["parts"] == {}
    assert body["knobs"] == []
    assert body["commands"]["difference"] == ["nothing changes"]
    assert body["commands"]["rollback"][0] == line
    assert body["commands"]["plan"][0].endswith("--seed 7")
    assert body["baseline"]["label"].endswith("as it is")


def test_a_fixed_baseline_that_misses_its_slo_is_said_to(tmp_path: Path) -> None:
    line = "vllm serve meta-llama/Llama-3.1-8B-Instruct --max-num-seqs 1 --max-num-batched-tokens 1024"
    body = run(write_study(tmp_path / "in", baseline=f'command = "{line}"\nreplicas = 1'), tmp_path / "run")
    assert body["baseline"]["slo_attainment"] < 0.95 <= body["plan"]["slo_attainment"]
    assert any("misses its SLO" in warning for warning in body["warnings"])


def test_nothing_that_keeps_the_slo_is_infeasible_with_the_nearest_miss(tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError, match=r"relax slo\.ttft_s \(0\.01 s\)"):
        run(write_study(tmp_path / "in", ttft_s=0.01), tmp_path / "run")
    assert not (tmp_path / "run" / "summary.json").exists()


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="name another with -o"):
        run(write_study(tmp_path / "in"), tmp_path / "run")
    assert (tmp_path / "run").read_text(encoding="utf-8") == "mine"


def test_a_burst_has_an_answer(tmp_path: Path) -> None:
    study = write_study(tmp_path / "in")
    rows = ["arrival_s,input_tokens,output_tokens", *["0.0,200,20"] * 40]
    (tmp_path / "in" / "requests.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    body = run(study, tmp_path / "run")
    assert body["plan"]["requests"] == 40
    assert body["scenario"]["workload"]["rate_rps"] is None
