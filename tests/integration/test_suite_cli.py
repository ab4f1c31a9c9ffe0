"""`wattlane simulate --suite`: from the shell to files and page; resumed, repeated, and checked by replay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tiny_study import write_study
from wattlane.cli.app import INTERRUPTED
from wattlane.cli.app import run as command_line
from wattlane.core.errors import UnknownNameError
from wattlane.core.files import read_parquet
from wattlane.core.served import latency
from wattlane.sim import account
from wattlane.study.config import read_study
from wattlane.study.suite import run_suite
from wattlane.study.suite.bench import Bench, bench
from wattlane.study.suite.cells import Worth, replayed, worth
from wattlane.study.suite.config import MEDIUM, Extent
from wattlane.study.suite.controllers import ABLATION, CONTROLLERS, DEFAULT, LOWEST, OURS
from wattlane.study.suite.loads import TUNING, FullLoad, at_rate
from wattlane.study.suite.tune import Tuned

EXTENT = Extent(loads=(0.3, MEDIUM), tuned_at=(MEDIUM,), seeds=2, prior_draws=2, part=0.5, companions=False)
BY_NAME = {one.name: one for one in CONTROLLERS}
FEW = tuple(
    BY_NAME[name] for name in dict.fromkeys((DEFAULT, "vllm", LOWEST, "sleep", *(name for name, _ in ABLATION)))
)
FILES = ("suite.json", "cells.parquet")


def tiny(folder: Path) -> Path:
    """Write a scenario of two replicas and enough requests to overload them."""
    return write_study(folder, n=1200, baseline="replicas = 2")


def quick(folder: Path, *more: str) -> tuple[int, Path]:
    """Run the verb on a tiny scenario."""
    scenario, out = tiny(folder / "in"), folder / "run"
    return command_line(["simulate", "--suite", "slo-energy", "--quick", str(scenario), "-o", str(out), *more]), out


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Return a small suite over two loads and two seeds: its folder, and what suite.json says."""
    folder = tmp_path_factory.mktemp("suite")
    found = run_suite("slo-energy", folder / "run", scenario=tiny(folder / "in"), extent=EXTENT, controllers=FEW)
    return folder, found


def rebuilt(folder: Path, body: dict[str, Any]) -> Bench:
    """Return the bench of a finished suite, with its full load and tuned limits."""
    path = folder / "in" / "study.toml"
    at = bench(read_study(path), path, EXTENT)
    at.full = {one["name"]: FullLoad(**one["full_load"]) for one in body["traffic"]}
    for table in body["tables"]:
        for row in table["rows"]:
            at.tuned[table["traffic"], table["load"], row["controller"]] = Tuned(row["knobs"], Worth(0.0, 0.0), 0)
    return at


@pytest.mark.slow
def test_one_command_makes_tables_files_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = quick(tmp_path)
    assert code == 0
    said = capsys.readouterr()
    body = json.loads((out / "suite.json").read_text(encoding="utf-8"))
    full = body["traffic"][0]["full_load"]
    assert f"100 % load is {full['rate_rps']:.1f} requests/s" in said.out.replace("100%", "100 %")
    assert {row["controller"] for row in body["tables"][0]["rows"]} == set(BY_NAME)
    assert all(name in said.out for name in BY_NAME)
    assert "medium load by thinning instead, wattlane: energy" in said.out
    assert "tuning" in said.err
    assert command_line(["report", str(out)]) == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "not ranked" in page or all(row["ranked"] for row in body["tables"][0]["rows"])
    assert all(one.title in page for one in CONTROLLERS)
    # finished work is returned as it is
    again, _ = quick(tmp_path, "--json")
    shown = capsys.readouterr()
    assert again == 0
    assert json.loads(shown.out[shown.out.index("{") :]) == body
    assert "holds this suite already" in shown.err


@pytest.mark.slow
def test_an_interrupted_suite_goes_on_at_the_next_cell_and_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, clean = quick(tmp_path / "a")
    assert whole == 0
    made: list[str] = []
    kept = Bench.cell

    def breaking(self: Bench, traffic: str, load: float, seed: int, controller: Any) -> dict[str, Any]:
        made.append(controller.name)
        if len(made) > 4:
            raise KeyboardInterrupt
        return kept(self, traffic, load, seed, controller)

    monkeypatch.setattr(Bench, "cell", breaking)
    code, out = quick(tmp_path / "b")
    assert code == INTERRUPTED
    assert "run the same command again to resume" in capsys.readouterr().err
    assert not (out / "suite.json").exists()
    first = [json.loads(line) for line in (out / ".progress" / "cells.jsonl").read_text().splitlines()]
    assert 0 < len(first) <= 4
    made.clear()
    monkeypatch.setattr(Bench, "cell", lambda *a: made.append(a[4].name) or kept(*a))
    monkeypatch.setattr(Bench, "tune", None)
    assert quick(tmp_path / "b")[0] == 0
    assert len(made) == len(CONTROLLERS) - len(first)
    for name in FILES:
        assert (out / name).read_bytes() == (clean / name).read_bytes()


@pytest.mark.slow
def test_same_seed_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    few = (BY_NAME[DEFAULT], *FEW)
    extent = Extent(loads=(MEDIUM,), seeds=1, prior_draws=1, part=0.3, companions=False)
    outs = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        scenario = tiny(tmp_path / name)
        run_suite(
            "slo-energy", tmp_path / name / "run", scenario=scenario, seed=seed, extent=extent, controllers=few[1:]
        )
        outs.append([(tmp_path / name / "run" / file).read_bytes() for file in FILES])
    assert outs[0] == outs[1]
    assert outs[0][0] != outs[2][0]


@pytest.mark.slow
def test_cells_are_there_once_for_each_place_and_their_joules_add_up(done: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = done
    cells = read_parquet(folder / "run" / "cells.parquet", "suite cells")
    assert len(cells) == len(FEW) * len(EXTENT.loads) * EXTENT.seeds
    assert cells.select("traffic", "load", "controller", "seed").is_unique().all()
    total = cells["prefill_j"] + cells["decode_j"] + cells["idle_j"]
    assert ((total / cells["energy_j"] - 1.0).abs() < 1e-9).all()
    for part in ("tail_j", "reconfiguration_j"):
        assert (cells[part] <= cells["idle_j"] * (1 + 1e-9)).all()
    # at one load and seed all controllers are asked the same, and charged at least to the same end
    same = cells.group_by("load", "seed").agg(pl.col("requests", "rate_rps").n_unique())
    assert same.select("requests", "rate_rps").to_numpy().tolist() == [[1, 1]] * len(same)
    assert (cells["horizon_s"] >= 1.25 * cells["requests"] / cells["rate_rps"] * (1 - 1e-9)).all()


@pytest.mark.slow
def test_a_cell_says_what_its_replay_says(done: tuple[Path, dict[str, Any]]) -> None:
    folder, body = done
    at = rebuilt(folder, body)
    cells = read_parquet(folder / "run" / "cells.parquet")
    for row in cells.filter((pl.col("seed") == 2) & (pl.col("load") == MEDIUM)).iter_rows(named=True):
        place = (row["traffic"], row["load"], row["controller"])
        fleet = BY_NAME[row["controller"]].fleet(at.site, at.tuned[place].knobs)
        run = replayed(at.workload(row["traffic"], row["load"], 2), fleet)
        assert row["attainment"] == account.attainment(run, at.site.slo)
        book = account.ledger(run)
        assert row["energy_j"] == book.metered_j
        found = latency(account.served_table(run, book.idle_j), at.site.slo)
        assert row["ttft_p99_s"] == pytest.approx(found.ttft_p99_s, rel=1e-6)
        assert row["tbt_p50_s"] == pytest.approx(found.tbt_p50_s, rel=1e-5)
        assert row["tbt_p99_s"] == pytest.approx(found.tbt_p99_s, rel=1e-5)
        assert row["mean_power_w"] == pytest.approx(row["energy_j"] / row["horizon_s"])


@pytest.mark.slow
def test_full_load_is_kept_by_the_default_and_missed_beyond(done: tuple[Path, dict[str, Any]]) -> None:
    folder, body = done
    at = rebuilt(folder, body)
    for one in at.traffic:
        full, work, slo = at.full[one.name], one.of(TUNING), at.site.slo
        fleet = BY_NAME[DEFAULT].fleet(at.site, full.knobs)
        kept, missed = (worth(at_rate(work, rate), fleet, slo).attainment for rate in (full.rate_rps, full.missed_rps))
        assert (kept, missed) == (full.attainment, full.missed_attainment)
        assert kept >= slo.attainment > missed
        assert full.missed_rps <= full.rate_rps * 1.02


@pytest.mark.slow
def test_a_wary_controller_keeps_the_slo_on_thinned_and_lighter_traffic_too(done: tuple[Path, dict[str, Any]]) -> None:
    folder, body = done
    at = rebuilt(folder, body)
    name, slo = at.traffic[0].name, at.site.slo
    thin, lighter = at.checks(name, MEDIUM)
    assert thin.rate_rps == pytest.approx(MEDIUM * at.full[name].rate_rps, rel=0.1)
    assert len(thin) < len(lighter)
    assert lighter.rate_rps == pytest.approx((MEDIUM - 0.1) * at.full[name].rate_rps)
    ours = BY_NAME[OURS]
    assert ours.wary
    default = Tuned(dict(at.full[name].knobs), Worth(0.0, 1.0), 1)
    found = at.tune(name, MEDIUM, ours, default)
    fleets = [(work, ours.fleet(at.site_at(work, name), found.knobs)) for work in (thin, lighter)]
    if found.worth.attainment >= slo.attainment + ours.margin:
        assert min(worth(work, fleet, slo).attainment for work, fleet in fleets) >= found.worth.attainment


@pytest.mark.slow
def test_the_clock_prior_moves_only_those_who_touch_the_clock(done: tuple[Path, dict[str, Any]]) -> None:
    folder, body = done
    at = rebuilt(folder, body)
    name = at.traffic[0].name
    plain, clocked = BY_NAME[DEFAULT], BY_NAME["fixed-clock"]
    at.tuned[name, MEDIUM, clocked.name] = Tuned({**at.full[name].knobs, "clock": 0.0}, Worth(0.0, 0.0), 0)
    draws = [at.under_prior(name, number, (plain, clocked)) for number in (0, 1)]
    assert draws[0][0] == draws[1][0]
    assert draws[0][1] != draws[1][1]


@pytest.mark.slow
def test_what_was_aimed_at_stands_beside_its_attainment(done: tuple[Path, dict[str, Any]]) -> None:
    _, body = done
    (aim,) = body["aims"]
    medium = next(table for table in body["tables"] if table["load"] == MEDIUM)
    ours = next(row for row in medium["rows"] if row["controller"] == OURS)
    assert aim["against_default"]["saving"] == ours["saving"]
    assert aim["attainment"] == ours["attainment"]
    reached = ours["ranked"] and ours["saving"]["median"] >= aim["against_default"]["aim"]
    assert aim["against_default"]["reached"] is reached
    prior = aim["against_default"]["under_clock_prior"]
    assert prior["p10"] <= prior["p50"] <= prior["p90"]
    assert body["ablation"][0]["rows"][0]["saving"]["median"] == 0.0


def test_a_suite_nobody_knows_and_a_missing_folder_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnknownNameError, match="unknown suite 'speed'"):
        run_suite("speed", tmp_path)
    assert command_line(["simulate", "--suite", "slo-energy"]) == 1
    assert "--suite needs -o" in capsys.readouterr().err
