"""`wattlane plan assign`, `certify`, `explain`: what is printed, written, refused, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from assign_cases import PUBLISHED, brute_force, law, published_targets, workload
from wattlane.cli.app import run
from wattlane.model.laws.bilinear import write_bilinear
from wattlane.plan.assign.ask import Ask
from wattlane.workload import write

KEYS = ["objective", "bound", "gap", "energy_j", "accuracy", "counts", "seconds", "status"]
SHARES = ["--accuracy", "0.5097,0.5569,0.6452", "--zeta", "0.5", "--shares", "0.05,0.2,0.75"]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, list[str]]:
    rng = np.random.default_rng(0)
    write(workload(rng.integers(8, 1500, 200), rng.integers(20, 900, 200)), tmp_path / "w.csv")
    fits = []
    for name, (energy, runtime, _, _) in PUBLISHED.items():
        write_bilinear(law(name, energy, runtime), tmp_path / f"{name}.json")
        fits += ["--fit", str(tmp_path / f"{name}.json")]
    return tmp_path, fits


def plan(files: tuple[Path, list[str]], *arguments: str, name: str = "w.csv") -> int:
    folder, fits = files
    return run(["plan", "assign", str(folder / name), *fits, *arguments])


def test_json_holds_the_answer_and_files_certify_it(files, capsys):
    path = files[0] / "plan.json"
    assert plan(files, *SHARES, "--share-kind", "ceiling", "--json", "-o", str(path)) == 0
    body = json.loads(capsys.readouterr().out)
    assert list(body)[: len(KEYS)] == KEYS
    assert body["counts"] == {"Llama-2-7B": 10, "Llama-2-13B": 40, "Llama-2-70B": 150}
    assert body["gap"] <= 1e-9
    assert body["status"] == "optimal"
    assert run(["certify", str(path), "--workload", str(files[0] / "w.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gap"] <= 1e-9
    assert run(["certify", str(path)]) == 0
    assert "ok     gap" in capsys.readouterr().out
    assert run(["explain", str(path)]) == 0
    said = capsys.readouterr().out
    assert "share_ceiling[Llama-2-7B]: one request more on Llama-2-7B would lower the objective by about" in said
    assert "open: the law files state no uncertainty" in said
    assert run(["explain", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["savings"][0]["verdict"].startswith("open")


def test_ceiling_is_the_default_and_floors_differ(files, capsys):
    found = []
    for arguments in ([], ["--share-kind", "ceiling"], ["--share-kind", "floor", "--share-factor", "0.25"]):
        assert plan(files, *SHARES, *arguments, "--json") == 0
        found.append(json.loads(capsys.readouterr().out)["objective"])
    assert found[0] == found[1]
    assert found[2] < found[0]


def test_the_printed_objective_is_that_of_the_formula(files, capsys):
    folder, _ = files
    small = workload([100, 700, 30, 1200, 400], [200, 50, 600, 300, 90])
    write(small, folder / "small.csv")
    ask = Ask(shares=(0.3, 0.3, 0.6), share_kind="floor")
    assert plan(files, "--shares", "0.2,0.2,0.4", "--share-kind", "floor", "--json", name="small.csv") == 0
    body = json.loads(capsys.readouterr().out)
    assert body["objective"] == pytest.approx(brute_force(published_targets(), small, ask, ([1, 1, 2], 9)), abs=1e-12)


def test_people_read_baselines_prices_and_warnings(files, capsys):
    assert plan(files, "--shares", "0.333,0.333,0.335") == 0
    captured = capsys.readouterr()
    for words in ("this plan", "round robin", "random", "count only", "share 0.333 is 66.60 requests, ceiling 67"):
        assert words in captured.out
    assert "negative energy_j" in captured.err


@pytest.mark.parametrize("verb", ["energy", "counts", "price", "row", "bound"])
def test_certify_finds_what_was_changed(files, capsys, verb):
    import polars as pl

    path = files[0] / "plan.json"
    assert plan(files, *SHARES, "-o", str(path)) == 0
    body = json.loads(path.read_text())
    if verb == "energy":
        body["totals"]["energy_j"] *= 1.001
    elif verb == "price":
        body["rows"][0]["price"] *= -1.0
    elif verb == "row":
        body["rows"][2]["bound"] += 5
    elif verb == "bound":
        body["bound"] += 1e-3
    path.write_text(json.dumps(body))
    if verb == "counts":
        table = pl.read_parquet(path.with_name("assignment.parquet"))
        table = table.with_columns(pl.lit("Llama-2-7B").alias("target"))
        table.write_parquet(path.with_name("assignment.parquet"))
    capsys.readouterr()
    assert run(["certify", str(path)]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_infeasible_ceilings_say_how_many_requests_short(files, capsys):
    assert plan(files, "--shares", "0.05,0.2,0.65") == 3
    assert "share_ceiling[Llama-2-70B]: 130 requests → 150 (20 more)" in capsys.readouterr().err


def test_all_problems_of_the_input_are_reported_at_once(files, capsys):
    folder, _ = files
    (folder / "bad.csv").write_text("arrival_s,input_tokens,output_tokens\n0,-5,3\n1,7,8\n")
    body = json.loads((folder / "Llama-2-7B.json").read_text())
    body["energy_j"]["a0"] = float("nan")
    (folder / "Llama-2-7B.json").write_text(json.dumps(body))
    assert plan(files, "--accuracy", "0.5,1.7,0.6", "--zeta", "2", "--shares", "0,0.2,0.3", name="bad.csv") == 1
    said = capsys.readouterr().err
    for words in ("energy_j.a0 is nan", "accuracy[1] is 1.7", "zeta is 2", "shares[0] is 0", "-5"):
        assert words in said, said


def test_unknown_models_and_words_for_numbers_are_refused_by_name(files, capsys):
    folder, _ = files
    write_bilinear(law("Llama-9", (1.0, 1.0, 0.0), (1.0, 1.0, 0.0)), folder / "x.json")
    assert run(["plan", "assign", str(folder / "w.csv"), "--fit", str(folder / "x.json")]) == 1
    assert "Llama-9" in capsys.readouterr().err
    assert plan(files, "--shares", "a,b", "--gpus", "1.5,1,1") == 1
    said = capsys.readouterr().err
    assert "--shares is 'a,b'" in said
    assert "--gpus is '1.5,1,1'" in said


def test_certify_and_explain_name_a_file_that_is_no_plan(files, capsys):
    law_file = str(files[0] / "Llama-2-7B.json")
    for verb in ("certify", "explain"):
        assert run([verb, law_file]) == 1
        assert "is not a plan" in capsys.readouterr().err


def test_frontier_prints_a_line_a_weight_and_writes_the_points(files, capsys):
    folder, fits = files
    path = folder / "frontier.json"
    arguments = ["plan", "frontier", str(folder / "w.csv"), *fits, "--zetas", "0,0.5,1"]
    assert run([*arguments, "-o", str(path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert [point["zeta"] for point in json.loads(path.read_text())["points"]] == [0.0, 0.5, 1.0]
    assert run([*arguments, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["points"]) == 3
    assert run(["plan", "frontier", str(folder / "none.csv"), *fits, "--shares", "3,1,1"]) == 1
    said = capsys.readouterr().err
    assert "no such file" in said
    assert "shares[0] is 3" in said
