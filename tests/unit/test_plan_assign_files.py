"""Plans in files, read back and certified; kinds of requests read from a stream."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from assign_cases import law, lengths, published_targets, workload
from wattlane.core.errors import FileFormatError, InputError, OutOfRangeError
from wattlane.model.laws.bilinear import write_bilinear
from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.certify import certify
from wattlane.plan.assign.kinds import merge
from wattlane.plan.assign.plan import read_plan
from wattlane.plan.assign.run import assign, assign_files
from wattlane.plan.assign.streaming import merge_file, read_kinds
from wattlane.plan.assign.targets import TargetSpec

# --- files -------------------------------------------------------------------------------------------------------


def test_plans_with_limits_by_request_certify_from_their_files(tmp_path):
    w = lengths(40)
    kinds = merge(w, min_accuracy=np.where(np.arange(40) % 2, 0.6, 0.0), deadline_s=np.full(40, 900.0))
    plan = assign(kinds, published_targets(usd_per_kwh=0.2, gco2e_per_kwh=300.0), Ask("money"))
    plan.write(tmp_path / "plan.json")
    assert certify(tmp_path / "plan.json").holds
    assert read_plan(tmp_path / "plan.json").totals.as_dict() == pytest.approx(plan.totals.as_dict())
    assert plan.totals.usd == pytest.approx(plan.solution.objective)


def test_plans_by_branch_and_bound_say_what_arithmetic_proves(tmp_path):
    total = assign(lengths(12), published_targets(), Ask("joules")).totals.gpu_hours
    plan = assign(lengths(12), published_targets(), Ask("joules", gpu_hours=(0.5 * total, 9.0, 9.0)))
    plan.write(tmp_path / "plan.json")
    found = certify(tmp_path / "plan.json")
    assert found.holds
    assert plan.solution.gap <= found.gap < 0.1
    assert "by branch and bound, which needs the solver to check" in found.lines()[-1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda body: body.pop("targets"), "expected a plan written by wattlane plan assign"),
        (lambda body: body["targets"][0].update(name="other"), "unknown targets"),
        (lambda body: body["rows"].pop(), "the file was changed"),
    ],
)
def test_files_that_are_no_plan_any_more_are_refused(tmp_path, change, words):
    path = tmp_path / "plan.json"
    assign(lengths(20), published_targets(), Ask(shares=(0.5, 0.5, 0.5))).write(path)
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))
    with pytest.raises(InputError, match=words):
        read_plan(path)


def test_a_file_of_another_workload_is_found_out(tmp_path):
    (tmp_path / "w.csv").write_text("arrival_s,input_tokens,output_tokens\n0,7,8\n")
    write_bilinear(law("m", (1.0, 1.0, 0.0), (1.0, 1.0, 0.0)), tmp_path / "m.json")
    spec = TargetSpec([str(tmp_path / "m.json")], (0.5,))
    plan = assign_files(tmp_path / "w.csv", spec, Ask())
    plan.write(tmp_path / "plan.json")
    assert certify(tmp_path / "plan.json", tmp_path / "w.csv").holds
    (tmp_path / "w.csv").write_text("arrival_s,input_tokens,output_tokens\n0,7,9\n")
    assert not certify(tmp_path / "plan.json", tmp_path / "w.csv").holds


def test_refused_negative_predictions_stop_the_plan():
    with pytest.raises(OutOfRangeError, match="negative energy_j"):
        assign(workload([2048], [8]), published_targets(), Ask(negative="refuse"))


def test_same_inputs_same_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assign(lengths(50), published_targets(), Ask(shares=(0.5, 0.5, 0.5))).write(tmp_path / name / "plan.json")
    for file in ("plan.json", "assignment.parquet"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_each_request_has_its_target_and_equal_ones_fill_the_counts(tmp_path):
    w = workload([10, 10, 10, 300], [20, 20, 20, 5])
    plan = assign(w, published_targets(), Ask(shares=(0.25, 0.5, 0.5)))
    paths = plan.write(tmp_path / "plan.json", per_request=True)
    assert [path.name for path in paths] == ["plan.json", "assignment.parquet", "requests.parquet"]
    table = pl.read_parquet(paths[2])
    assert table["request"].to_list() == [0, 1, 2, 3]
    counts = table.group_by("target").len()
    assert dict(counts.iter_rows()) == {name: count for name, count in plan.counts.items() if count}
    kinds = plan.case.kinds
    for i, target in enumerate(table["target"].to_list()):
        assert plan.solution.x[[t.name for t in plan.case.targets].index(target), kinds.of_request[i]] > 0


def test_requests_of_a_stream_have_no_order_to_write(tmp_path):
    kinds = replace(merge(lengths(5)), of_request=None)
    plan = assign(kinds, published_targets(), Ask())
    with pytest.raises(InputError, match="order of requests was not kept"):
        plan.write(tmp_path / "plan.json", per_request=True)


def test_a_table_of_other_requests_is_found_out_by_the_workload(tmp_path):
    (tmp_path / "w.csv").write_text("arrival_s,input_tokens,output_tokens\n0,7,8\n1,7,8\n")
    write_bilinear(law("m", (1.0, 1.0, 0.0), (1.0, 1.0, 0.0)), tmp_path / "m.json")
    plan = assign_files(tmp_path / "w.csv", TargetSpec([str(tmp_path / "m.json")], (0.5,)), Ask())
    other = assign(workload([8, 6], [7, 9]), plan.case.targets, Ask())
    replace(other, provenance=plan.provenance).write(tmp_path / "plan.json")
    found = certify(tmp_path / "plan.json", tmp_path / "w.csv")
    assert [check.name for check in found.checks if not check.holds] == ["workload"]


# --- streams -----------------------------------------------------------------------------------------------------


@pytest.fixture
def azure(tmp_path: Path) -> Path:
    path = tmp_path / "azure.csv"
    rng = np.random.default_rng(0)
    rows = [f"2024-05-10 00:{i // 60:02d}:{i % 60:02d},{rng.integers(5, 9)},{rng.integers(0, 4)}" for i in range(600)]
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(rows) + "\n")
    return path


def test_a_stream_merges_to_the_same_kinds_as_a_workload(azure, monkeypatch):
    streamed, loaded = merge_file(azure), read_kinds(azure)
    pairs = [(k.input_tokens.tolist(), k.output_tokens.tolist(), k.requests.tolist()) for k in (streamed, loaded.kinds)]
    assert pairs[0] == pairs[1]
    assert streamed.of_request is None
    monkeypatch.setattr("wattlane.plan.assign.streaming.LARGE_BYTES", 1)
    large = read_kinds(azure)
    assert large.kinds.of_request is None
    assert large.sha256 == loaded.sha256
    assert large.notes[0].endswith("rows with zero output tokens left out")


def test_plans_of_streams_have_no_round_robin_and_the_same_optimum(azure, tmp_path, monkeypatch):
    for target in published_targets():
        write_bilinear(target.law, tmp_path / f"{target.name}.json")
    spec = TargetSpec([str(tmp_path / f"{t.name}.json") for t in published_targets()])
    small = assign_files(azure, spec, Ask(shares=(0.3, 0.3, 0.5)))
    monkeypatch.setattr("wattlane.plan.assign.streaming.LARGE_BYTES", 1)
    large = assign_files(azure, spec, Ask(shares=(0.3, 0.3, 0.5)))
    assert large.solution.objective == pytest.approx(small.solution.objective, rel=1e-12)
    assert {b.name for b in small.baselines} - {b.name for b in large.baselines} == {"round robin"}


def test_limits_by_request_are_read_from_the_workload_file(tmp_path):
    table = pl.DataFrame(
        {
            "arrival_s": [0.0, 1.0, 2.0],
            "input_tokens": [10, 10, 10],
            "output_tokens": [5, 5, 5],
            "deadline_s": [60.0, 60.0, 1.0],
            "min_accuracy": [0.0, 0.6, 0.0],
        }
    )
    table.write_parquet(tmp_path / "w.parquet")
    table.write_csv(tmp_path / "w.csv")
    for name in ("w.parquet", "w.csv"):
        kinds = read_kinds(tmp_path / name).kinds
        assert kinds.requests.tolist() == [1, 1, 1]
        assert sorted(kinds.deadline_s.tolist()) == [1.0, 60.0, 60.0]
    table.with_columns(pl.Series("deadline_s", [60.0, -1.0, 1.0])).write_csv(tmp_path / "w.csv")
    with pytest.raises(InputError, match="deadline_s is missing, negative or zero"):
        read_kinds(tmp_path / "w.csv")
    table.with_columns(pl.Series("input_tokens", [10, -1, 10])).write_csv(tmp_path / "w.csv")
    with pytest.raises(InputError, match="input_tokens is -1; expected a whole number"):
        read_kinds(tmp_path / "w.csv")
    many = pl.concat([table] * 100).with_columns(pl.Series("input_tokens", [-1] + [10] * 299))
    many.write_csv(tmp_path / "w.csv")
    with pytest.raises(InputError, match="1 bad rows; expected none: repair them"):
        read_kinds(tmp_path / "w.csv")


def test_streams_that_cannot_be_used_are_refused(tmp_path):
    (tmp_path / "x.csv").write_text("time,size\n1,2\n")
    with pytest.raises(InputError, match="no length columns"):
        merge_file(tmp_path / "x.csv")
    for rows in ("0,1.5,2\n", "", "0,a,2\n", "0,5,0\n"):
        (tmp_path / "y.csv").write_text("arrival_s,input_tokens,output_tokens\n" + rows)
        with pytest.raises(InputError, match="rows that cannot be used"):
            merge_file(tmp_path / "y.csv")
    (tmp_path / "z.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(FileFormatError):
        merge_file(tmp_path / "z.parquet")
