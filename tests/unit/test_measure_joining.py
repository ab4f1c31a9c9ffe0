"""Result files of other load generators are charged with our record by time; failures stay in the joules only."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from wattlane.core.errors import FileFormatError, InputError
from wattlane.measure.account import ABSENT
from wattlane.measure.joining import join, read_client, record
from wattlane.measure.meters.simulated import SimulatedMeter

POWER_W = 200.0
LENGTH_S = 0.6


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float, float]:
    """A record of a constant card, and the start of a window inside it on the unix and on the monotonic clock."""
    folder = tmp_path_factory.mktemp("record")
    with record(folder, SimulatedMeter.constant(POWER_W)):
        time.sleep(0.3)
        unix_s, monotonic_s = time.time(), time.monotonic()
        time.sleep(LENGTH_S + 0.3)
    return folder, unix_s, monotonic_s


def aiperf(start_s: float) -> str:
    def line(i: int, phase: str = "profiling", error: Any = None) -> str:
        about = {
            "request_start_ns": int((start_s + 0.1 * i) * 1e9),
            "request_end_ns": int((start_s + 0.1 * i + 0.2) * 1e9),
            "benchmark_phase": phase,
        }
        metrics = {"input_sequence_length": {"value": 10}, "output_sequence_length": {"value": 4}}
        return json.dumps({"metadata": about, "metrics": {} if error else metrics, "error": error})

    return "\n".join([line(-50, "warmup"), *(line(i) for i in range(4)), line(4, error={"code": 500})])


def guidellm(start_s: float) -> str:
    def entry(i: int) -> dict[str, Any]:
        times = {"request_start_time": start_s + 0.1 * i, "request_end_time": start_s + 0.1 * i + 0.2}
        return {**times, "prompt_tokens": 10, "output_tokens": 4}

    requests = {"successful": [entry(i) for i in range(4)], "errored": [entry(4)], "incomplete": [], "total": None}
    return json.dumps({"benchmarks": [{"requests": requests}]})


def vllm(start_s: float) -> str:
    body = {
        "start_times": [start_s + 0.1 * i for i in range(5)],
        "ttfts": [0.14] * 5,
        "itls": [[0.02, 0.02, 0.02]] * 5,
        "input_lens": [10] * 5,
        "output_lens": [4, 4, 4, 4, 0],
        "errors": ["", "", "", "", "timed out"],
    }
    return json.dumps(body)


@pytest.mark.parametrize(("tool", "make"), [("AIPerf", aiperf), ("GuideLLM", guidellm), ("vLLM bench", vllm)])
def test_each_tool_is_charged_the_energy_of_its_window(
    tool: str, make: Any, recorded: tuple[Path, float, float], tmp_path: Path
) -> None:
    folder, unix_s, monotonic_s = recorded
    path = tmp_path / "result.json"
    path.write_text(make(monotonic_s if tool == "vLLM bench" else unix_s))
    joined = join(path, folder)
    assert (joined.tool, joined.requests, joined.failed) == (tool, 5, 1)
    assert (joined.input_tokens, joined.output_tokens) == (40, 16)
    assert joined.window_s == pytest.approx(LENGTH_S, abs=1e-3)
    assert joined.energy.energy_j == pytest.approx(POWER_W * LENGTH_S, rel=0.05)
    assert joined.per_output_token.energy_j == pytest.approx(POWER_W * LENGTH_S / 16, rel=0.05)
    assert joined.per_output_token.energy_j_lo <= POWER_W * LENGTH_S / 16 <= joined.per_output_token.energy_j_hi
    assert joined.per_request.energy_j == pytest.approx(POWER_W * LENGTH_S / 4, rel=0.05)


def test_a_request_that_was_refused_before_it_was_sent_counts_as_failed(
    recorded: tuple[Path, float, float], tmp_path: Path
) -> None:
    body = json.loads(vllm(recorded[2]))
    body["start_times"][4] = 0.0
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(body))
    joined = join(path, recorded[0])
    assert (joined.requests, joined.failed) == (5, 1)
    assert joined.window_s == pytest.approx(LENGTH_S - 0.1, abs=1e-3)


def test_requests_outside_the_record_are_refused(recorded: tuple[Path, float, float], tmp_path: Path) -> None:
    path = tmp_path / "result.jsonl"
    path.write_text(aiperf(recorded[1] - 3600))
    with pytest.raises(InputError, match="record from before the first"):
        join(path, recorded[0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"schema": 1, "kind": "plan"}', "found keys schema, kind"),
        ("not a result", r"line 1 is not JSON .*cut short"),
        ('{"metadata": {"request_start_ns": 1, "request_end_ns": 2}}\n{"metada', "line 2 is not JSON"),
        ('{"benchmarks": []}', "no request"),
        ('{"start_times": [1.0], "ttfts": []}', "found no key 'itls'"),
        ('{"metadata": {}}', "request_start_ns"),
    ],
)
def test_files_of_other_kinds_are_refused_with_what_was_found(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=words):
        read_client(path)


def test_unknown_token_counts_stay_unknown(recorded: tuple[Path, float, float], tmp_path: Path) -> None:
    body = json.loads(guidellm(recorded[1]))
    body["benchmarks"][0]["requests"]["successful"][0]["output_tokens"] = None
    path = tmp_path / "benchmarks.json"
    path.write_text(json.dumps(body))
    joined = join(path, recorded[0])
    assert joined.output_tokens is None
    assert joined.per_output_token == ABSENT
