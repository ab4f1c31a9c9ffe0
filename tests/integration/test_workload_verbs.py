"""`wattlane workload describe | bin | convert`: data to stdout, words to stderr, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wattlane.cli.app import run


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    rows = "".join(f"2024-05-10 00:00:{i:02d},{100 + i},{5 + i}\n" for i in range(50))
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + rows)
    return path


def test_describe_prints_one_json_object_with_the_facts_of_the_file(trace, capsys):
    assert run(["workload", "describe", str(trace), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["requests"], facts["rows"], facts["format"], facts["bad_rows"]) == (50, 50, "azure", 0)
    assert facts["input_tokens"]["p50"] == 124.5


def test_describe_for_people_names_bad_rows_on_stderr(trace, capsys):
    with trace.open("a") as file:
        file.write("broken\n")
    assert run(["workload", "describe", str(trace), "--max-bad-share", "0.1"]) == 0
    captured = capsys.readouterr()
    assert "50 requests over 49.00 s" in captured.out
    assert "line 52" in captured.err


def test_bin_writes_counts_that_add_up(trace, tmp_path, capsys):
    target = tmp_path / "bins.json"
    assert run(["workload", "bin", str(trace), "--scheme", "adaptive", "--input-bins", "3", "-o", str(target)]) == 0
    body = json.loads(target.read_text())
    assert (body["kind"], sum(cell[2] for cell in body["cells"]) + body["excluded"]) == ("bins", 50)
    assert len(body["input_edges"]) == 3
    assert "50 requests, 0 excluded" in capsys.readouterr().out
    assert run(["workload", "bin", str(trace), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scheme"] == "fernandez-printed"


def test_convert_then_describe_gives_the_same_requests(trace, tmp_path, capsys):
    target = tmp_path / "w.parquet"
    assert run(["workload", "convert", str(trace), "-o", str(target)]) == 0
    capsys.readouterr()
    assert run(["workload", "describe", str(target), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["requests"] == 50


def test_bad_input_is_one_message_and_exit_code_1(tmp_path, capsys):
    assert run(["workload", "describe", str(tmp_path / "missing.csv")]) == 1
    assert "no such file" in capsys.readouterr().err
