"""Measured runs replayed: the reader, the comparison, and the errors on two measured vLLM runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from wattlane.cli.app import run as command
from wattlane.core.errors import InputError
from wattlane.sim.against import compare, read_run


def write_run(folder: Path, rows: list[dict[str, float]]) -> Path:
    folder.mkdir(parents=True)
    engine = {"tensor_parallel_size": 1, "max_num_seqs": 2, "max_num_batched_tokens": 64}
    meta = {
        "model": "meta-llama/Llama-3.1-8B",
        "vllm_version": "0.0",
        "engine_kwargs": engine,
        "started_at": "1970-01-01T00:01:39.5Z",
    }
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    (folder / "requests.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    series = "t,prompt_throughput,gen_throughput,running,waiting,kv_cache_pct\n1.0,10,8,2,0,0\n2.0,0,4,1,0,0\n"
    (folder / "timeseries.csv").write_text(series, encoding="utf-8")
    return folder


def row(at_s: float, output: int, first_s: float, last_s: float) -> dict[str, float]:
    stamps = {"queued_ts": 500 + at_s, "scheduled_ts": 500 + at_s + 0.01}
    ends = {"first_token_ts": 500 + first_s, "last_token_ts": 500 + last_s}
    return {"input_toks": 30, "output_toks": output, "arrival_time": 100.0 + at_s} | stamps | ends


ROWS = [row(0.3, 5, 0.5, 0.9), row(0.0, 5, 0.1, 0.5), row(0.1, 5, 0.2, 0.6)]


def test_reader_sorts_by_queueing_and_ties_the_clocks(tmp_path: Path) -> None:
    measured = read_run(write_run(tmp_path / "RTXPRO6000" / "vllm", ROWS))
    assert measured.workload.arrival_s == pytest.approx([0.0, 0.1, 0.3])
    assert measured.stamps.first_s == pytest.approx([0.1, 0.2, 0.5])
    assert measured.tick_s == pytest.approx([0.5, 1.5])  # the bench started half a second before the first request
    assert measured.deployment.gpu == "RTX-PRO-6000"
    assert measured.stamps.quantities()["tpot"] == pytest.approx([0.1, 0.1, 0.1])
    assert measured.stamps.running(np.array([0.05, 0.25, 0.55, 1.0])).tolist() == [1.0, 2.0, 2.0, 0.0]


def test_plain_queue_gives_its_slots_in_order(tmp_path: Path) -> None:
    (found,) = compare(write_run(tmp_path / "run", ROWS), "H100")
    # two slots, 0.1 s a token, five tokens: the third waits until the first ends
    assert found.queue.scheduled_s == pytest.approx([0.0, 0.1, 0.5])
    assert found.queue.last_s == pytest.approx([0.5, 0.6, 1.0])
    body = found.as_dict()
    assert body["errors"]["tpot"]["ape_median_queue"] == pytest.approx(0.0, abs=1e-12)
    assert body["makespan_queue_s"] == pytest.approx(1.0)
    assert body["requests"] == 3
    assert found.tokens_per_s.sum() == 15


def test_what_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"found no meta\.json"):
        compare(tmp_path)
    folder = write_run(tmp_path / "run", [{"input_toks": 3}])
    assert command(["simulate", "--against", str(folder), "--gpu", "H100"]) == 1
    assert "missing output_toks, arrival_time, queued_ts" in capsys.readouterr().err
    folder = write_run(tmp_path / "other", ROWS)
    with pytest.raises(InputError, match="name it with --gpu"):
        compare(folder)
    big = [{**r, "input_toks": 40_000_000} for r in ROWS]
    with pytest.raises(InputError, match="3 requests of the measured run do not fit"):
        compare(write_run(tmp_path / "big", big), "H100")


def test_verb_prints_the_errors_of_every_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "H100" / "a", ROWS)
    write_run(tmp_path / "H100" / "b", ROWS)
    assert command(["simulate", "--against", str(tmp_path)]) == 0
    words = capsys.readouterr().out
    assert words.count("Llama-3.1-8B on 1 x H100") == 2
    assert "scheduled_to_first" in words
    assert command(["simulate", "--against", str(tmp_path), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 2


# Median absolute errors of a law that has seen nothing of this GPU, with room; the table is in validation.md.
BOUNDS = {
    "meta-llama/Llama-3.1-8B": {"ttft": 0.40, "scheduled_to_first": 0.65, "tpot": 0.15, "e2e": 0.20},
    "Qwen/Qwen3-32B": {"ttft": 0.50, "scheduled_to_first": 0.70, "tpot": 0.35, "e2e": 0.40},
}


@pytest.mark.data
def test_cold_start_replays_two_measured_runs_within_its_stated_errors(data_dir: Path) -> None:
    runs = [found.as_dict() for found in compare(data_dir / "latency" / "llmservingsim-bench")]
    assert len(runs) == 2
    for body in runs:
        assert body["requests"] == 300
        assert "cold start" in body["law"]
        bounds = next(bounds for model, bounds in BOUNDS.items() if body["run"].startswith(model))
        for name, bound in bounds.items():
            assert body["errors"][name]["ape_median"] < bound, name
        assert body["makespan_simulated_s"] == pytest.approx(body["makespan_s"], rel=0.3)
        assert body["running_nrmse"] < 0.7
        # it also knows what the plain queue cannot: how long a prompt takes
        errors = body["errors"]["scheduled_to_first"]
        assert errors["ape_median"] < errors["ape_median_queue"]
