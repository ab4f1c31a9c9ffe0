"""`wattlane study` from the shell: what it prints where, and what it exits with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tiny_study import MODEL, write_study
from wattlane.cli.app import run as command_line
from wattlane.plan.search import Search

COMMAND = [sys.executable, "-c", "from wattlane.cli import main; main()", "study"]


def shell(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the verb in a process of its own."""
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    """Run the verb in this process; return its exit code and what it said on stderr, stdout being empty."""
    code = command_line(["study", *map(str, arguments)])
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return code, said.err


@pytest.mark.slow
def test_the_table_answers_first_and_progress_goes_to_stderr(tmp_path: Path) -> None:
    done = shell(write_study(tmp_path / "in"), "-o", tmp_path / "run")
    assert done.returncode == 0
    body = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    first = done.stdout.splitlines()[0]
    assert first.startswith(f"The plan uses {body['saving_fraction']:.0%} less GPU energy (")
    assert "of requests within their SLOs" in first
    for line in body["commands"]["plan"] + body["commands"]["rollback"]:
        assert f"  {line}" in done.stdout
    assert f"{body['plan']['energy_j_per_request']:.4g} J" in done.stdout
    for step in ("workload:", "baseline:", "search:", "draws: 20 of 20", "write:"):
        assert step in done.stderr
        assert step not in done.stdout
    assert f"wattlane report {tmp_path}" in done.stderr.replace("\n", "")


@pytest.mark.slow
def test_json_is_the_summary_alone_also_the_second_time(tmp_path: Path) -> None:
    study = write_study(tmp_path / "in")
    first, again = (shell(study, "-o", tmp_path / "run", "--json") for _ in range(2))
    assert first.returncode == again.returncode == 0
    assert json.loads(first.stdout) == json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert again.stdout == first.stdout
    assert "holds this study already" in again.stderr


def test_table_and_json_come_from_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study, folder = write_study(tmp_path / "in"), tmp_path / "run"
    assert command_line(["study", str(study), "-o", str(folder)]) == 0
    assert capsys.readouterr().out.startswith("The plan uses ")
    assert command_line(["study", str(study), "-o", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def test_ctrl_c_in_this_process_exits_130_and_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Search, "run", interrupted)
    code, said = refused(capsys, write_study(tmp_path / "in"), "-o", tmp_path / "run")
    assert code == 130
    assert "run the same command again to resume" in said


def test_a_missing_study_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = refused(capsys, tmp_path / "no.toml", "-o", tmp_path / "run")
    assert code == 1
    assert "no such file" in said


def test_a_study_that_is_not_toml_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.toml").write_text("[workload\n", encoding="utf-8")
    code, said = refused(capsys, tmp_path / "a.toml", "-o", tmp_path / "run")
    assert code == 1
    assert "not valid TOML" in said
    assert not (tmp_path / "run").exists()


def test_an_unknown_model_exits_1_with_a_suggestion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write_study(tmp_path / "in")
    study.write_text(study.read_text(encoding="utf-8").replace(MODEL, "Llama-3.1-8B-Instruckt"), encoding="utf-8")
    code, said = refused(capsys, study, "-o", tmp_path / "run")
    assert code == 1
    assert "did you mean" in said


def test_nothing_feasible_exits_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = refused(capsys, write_study(tmp_path / "in", ttft_s=0.01), "-o", tmp_path / "run")
    assert code == 3
    assert "relax slo.ttft_s" in said


def test_a_trace_with_too_many_bad_rows_exits_1_and_names_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path / "in")
    with (tmp_path / "in" / "requests.csv").open("a", encoding="utf-8") as file:
        file.writelines(f"later,{n},{n}\n" for n in range(1, 9))
    code, said = refused(capsys, study, "-o", tmp_path / "run")
    assert code == 1
    assert "line 242" in said


def test_a_negative_seed_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = refused(capsys, write_study(tmp_path / "in"), "-o", tmp_path / "run", "--seed", "-1")
    assert code == 2


@pytest.mark.slow
def test_ctrl_c_exits_130_and_the_same_command_resumes(tmp_path: Path) -> None:
    study, folder = write_study(tmp_path / "in", n=4000), tmp_path / "run"
    study.write_text(study.read_text(encoding="utf-8").replace("draws = 20", "draws = 2000"), encoding="utf-8")
    process = subprocess.Popen(
        [*COMMAND, str(study), "-o", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    kept = folder / ".progress" / "draws.jsonl"
    until = time.monotonic() + 120
    while not (kept.exists() and kept.stat().st_size > 0):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again to resume" in said
    assert "Traceback" not in said
    points = (folder / ".progress" / "points.jsonl").read_bytes()
    drawn = len(kept.read_text(encoding="utf-8").splitlines())
    assert 0 < drawn < 2000
    # the same study with fewer draws would be another study: resume this one and stop it again after more draws
    process = subprocess.Popen([*COMMAND, str(study), "-o", str(folder)], stderr=subprocess.PIPE, text=True)
    while len(kept.read_text(encoding="utf-8").splitlines()) < drawn + 5:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert (folder / ".progress" / "points.jsonl").read_bytes() == points
