"""The command line of generate, from-metrics and download: files, output, exit codes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from prometheus_history import START_S, STEP_S, STEPS, gauge, responses_of, saved, truth
from wattlane.cli.app import run
from wattlane.workload import load
from wattlane.workload.metrics.queries import GPU_POWER

Out = pytest.CaptureFixture[str]


def test_generate_writes_the_same_file_for_the_same_seed(tmp_path: Path, capsys: Out) -> None:
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    for path in (one, other):
        arguments = ["--arrival", "kind=gamma,rate_rps=5,cv=2", "-n", "200", "--seed", "4", "-o", str(path)]
        assert run(["workload", "generate", *arguments]) == 0
    assert one.read_bytes() == other.read_bytes()
    assert len(load(one).workload) == 200
    captured = capsys.readouterr()
    assert "200 requests" in captured.out
    assert "note: arrival kind=gamma,rate_rps=5,cv=2" in captured.err


def test_generate_describes_itself_as_json(tmp_path: Path, capsys: Out) -> None:
    arguments = ["--arrival", "kind=deterministic,rate_rps=2", "--lengths", "kind=fixed,input_tokens=7,output_tokens=3"]
    path = tmp_path / "made.parquet"
    assert run(["workload", "generate", *arguments, "--duration-s", "50", "-o", str(path), "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["requests"], body["input_tokens"]["mean"]) == (100, 7.0)
    assert body["gap_cv"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--arrival", "kind=poisson"], "rate_rps is missing"),
        (["--arrival", "kind=poisson,rate_rps=1"], "expected exactly one"),
        (["--arrival", "kind=posson,rate_rps=1", "-n", "3"], "did you mean 'poisson'"),
    ],
)
def test_generate_says_what_is_wrong(tmp_path: Path, capsys: Out, arguments: list[str], words: str) -> None:
    more = [] if "exactly" in words else ["-n", "3"]
    assert run(["workload", "generate", *arguments, *more, "-o", str(tmp_path / "x.csv")]) == 1
    assert words in capsys.readouterr().err


def test_from_metrics_writes_the_workload_and_states_the_loss(tmp_path: Path, capsys: Out) -> None:
    known = truth()
    watts = np.full(STEPS + 1, 300.0)
    source = saved(tmp_path, {**responses_of(known), GPU_POWER: gauge(GPU_POWER, [watts])})
    path = tmp_path / "rebuilt.parquet"
    assert run(["workload", "from-metrics", str(source), "-o", str(path)]) == 0
    assert load(path).workload.input_tokens.sum() == known.input_tokens.sum()
    captured = capsys.readouterr()
    assert "mean" in captured.out
    assert "(recorded)" in captured.out
    assert "power: measured by DCGM_FI_DEV_POWER_USAGE on 1 GPUs, 100.0% of the steps" in captured.out
    assert "assumed: arrivals within a step are Poisson" in captured.err
    assert run(["workload", "from-metrics", str(source), "-o", str(path), "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["information_loss"]["requests"] == len(known)
    assert body["power"]["origin"] == "measured"
    assert body["power"]["energy_j"] == pytest.approx(300 * STEP_S * STEPS)


def test_from_metrics_without_power_says_absent(tmp_path: Path, capsys: Out) -> None:
    source = saved(tmp_path, responses_of(truth(), without=("vllm:request_prompt_tokens_sum",)))
    assert run(["workload", "from-metrics", str(source), "-o", str(tmp_path / "x.csv")]) == 0
    out = capsys.readouterr().out
    assert "power: absent" in out
    assert "within" in out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--start", "0"], "expected both"),
        (["--start", "0", "--end", "600", "--header", "token"], "found no colon"),
        (["--start", "soon", "--end", "600"], "ISO 8601"),
        (["--start", "0", "--end", "600", "--header", "A: b"], "no answer"),
        ([], "needs a start and an end"),
    ],
)
def test_from_metrics_of_a_server_says_what_is_wrong(tmp_path: Path, capsys: Out, more: list[str], words: str) -> None:
    arguments = ["workload", "from-metrics", "http://127.0.0.1:9", "-o", str(tmp_path / "x.csv"), *more]
    assert run(arguments) == 1
    assert words in capsys.readouterr().err
    assert START_S > 0


def local_registry(folder: Path, *, with_hash: bool) -> Path:
    source = folder / "source.csv"
    source.write_text("arrival_s,input_tokens,output_tokens\n0,1,1\n", encoding="utf-8")
    digest = f'sha256 = "{hashlib.sha256(source.read_bytes()).hexdigest()}"' if with_hash else ""
    path = folder / "traces.toml"
    path.write_text(
        f'[mine]\nfile = "mine.csv"\nurl = "{source.as_uri()}"\nlicence = "CC0"\nattribution = "nobody"\n{digest}\n',
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize(("with_hash", "words"), [(True, "(verified)"), (False, "not verified, no hash is known")])
def test_download_says_whether_the_hash_was_verified(tmp_path: Path, capsys: Out, with_hash: bool, words: str) -> None:
    listed = local_registry(tmp_path, with_hash=with_hash)
    arguments = ["workload", "download", "mine", "-o", str(tmp_path / "out"), "--registry", str(listed)]
    assert run(arguments) == 0
    captured = capsys.readouterr()
    assert words in captured.out
    assert "licence CC0" in captured.err
    assert run([*arguments, "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["verified"] is with_hash
    assert len(load(Path(body["path"])).workload) == 1


def test_download_without_a_name_lists_what_there_is(tmp_path: Path, capsys: Out) -> None:
    assert run(["workload", "download"]) == 0
    assert "azure-2023-conv: 0.7 MB, CC-BY 4.0" in capsys.readouterr().out
    listed = local_registry(tmp_path, with_hash=False)
    assert run(["workload", "download", "--registry", str(listed)]) == 0
    assert "size unknown" in capsys.readouterr().out
    assert run(["workload", "download", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["traces"]) == 4
