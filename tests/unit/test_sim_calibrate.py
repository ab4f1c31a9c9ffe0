"""A run made with known constants is fitted: what it tells is found, what is held stays, the rest is predicted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wattlane.cli.app import run as command
from wattlane.core.errors import InputError
from wattlane.core.facts.gpus import gpu
from wattlane.core.types import Deployment
from wattlane.core.workload import Workload
from wattlane.model.profile import profile_for, read_profile
from wattlane.sim.against import Measured, Stamps
from wattlane.sim.calibrate import calibrate, carried, case_of, held_out_errors, replayed

N = 80
PROFILE = profile_for(gpu("H100"))
TRUTH = {"host_s": 2.0, "eta_flop": 0.6}  # factors on the profile


def made(tensor_parallel: int = 1) -> Measured:
    """Return a run of the engine model itself under constants the profile does not have."""
    rng = np.random.default_rng(7)
    workload = Workload(np.cumsum(rng.exponential(0.05, N)), rng.integers(50, 2000, N), rng.integers(2, 40, N))
    nothing = Stamps(*[np.zeros(N)] * 4, workload.output_tokens)
    deployment = Deployment("Llama-3.1-8B", "H100", tensor_parallel=tensor_parallel, max_num_seqs=8)
    ticks = np.arange(1.0, 4.0)
    run = Measured("made", workload, deployment, nothing, ticks, np.zeros(3), np.zeros(3))
    parameters = dict(PROFILE.family(case_of(run)).parameters)
    stamps, tokens_s = replayed(run, case_of(run), {**parameters, **{k: parameters[k] * f for k, f in TRUTH.items()}})
    counts = np.diff(np.searchsorted(tokens_s, np.concatenate([[ticks[0] - 1], ticks]), side="right"))
    return replace(run, stamps=stamps, running=stamps.running(ticks), tokens_per_s=counts.astype(float))


def test_constants_that_made_a_run_predict_its_second_half() -> None:
    run = made()
    cold, _ = replayed(run, case_of(run), PROFILE.family(case_of(run)).parameters)
    found = calibrate(run, PROFILE)
    before, after = held_out_errors(run, cold), found.as_dict()["errors"]
    assert before["tpot"]["ape_median"] > 0.10
    for name, bound in (("tpot", 0.04), ("e2e", 0.04), ("scheduled_to_first", 0.06)):
        assert after[name]["ape_median"] < bound, name
    assert found.fitted["host_s"] / PROFILE.family(case_of(run)).parameters["host_s"] > 1.3
    assert found.profile.families["dense"].parameters["host_s"] == found.fitted["host_s"]
    assert np.linalg.eigvalsh(found.profile.families["dense"].covariance_log).min() > -1e-9
    assert all(found.sd[name] <= found.prior_sd[name] * 1.001 for name in found.fitted)


def test_stamps_of_the_second_half_do_not_reach_the_fit() -> None:
    run = made()
    late = np.arange(N) >= N // 2
    other = replace(run, stamps=replace(run.stamps, last_s=run.stamps.last_s + np.where(late, 5.0, 0.0)))
    assert calibrate(run, PROFILE).fitted == calibrate(other, PROFILE).fitted


def test_host_constants_are_carried_and_held() -> None:
    source = calibrate(made(), PROFILE)
    whole, host = carried(source, made(2), PROFILE)
    assert not whole.fitted
    assert set(host.fitted) == {"eta_flop", "eta_weights", "eta_kv", "comm_per_layer_s", "link_share"}
    assert host.profile.families["dense"].parameters["host_s"] == source.fitted["host_s"]


def test_short_or_impossible_runs_are_refused() -> None:
    run = made()
    part = replace(run, workload=run.workload.take(np.arange(7), run.workload.arrival_s[:7]))
    with pytest.raises(InputError, match="expected at least 8"):
        calibrate(part, PROFILE)
    big = Workload(run.workload.arrival_s, run.workload.input_tokens + 40_000_000, run.workload.output_tokens)
    with pytest.raises(InputError, match="80 requests of the measured run do not fit"):
        calibrate(replace(run, workload=big), PROFILE)


def write_run(folder: Path, run: Measured) -> None:
    folder.mkdir(parents=True)
    engine = {"tensor_parallel_size": 1, "max_num_seqs": 8, "max_num_batched_tokens": 2048}
    meta = {"model": "Llama-3.1-8B", "vllm_version": "0.0", "engine_kwargs": engine}
    meta["started_at"] = "1970-01-01T00:01:40Z"
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    s, w = run.stamps, run.workload
    rows = [
        {
            "input_toks": int(w.input_tokens[i]),
            "output_toks": int(w.output_tokens[i]),
            "arrival_time": 100.0 + s.queued_s[i],
            "queued_ts": 500 + s.queued_s[i],
            "scheduled_ts": 500 + s.scheduled_s[i],
            "first_token_ts": 500 + s.first_s[i],
            "last_token_ts": 500 + s.last_s[i],
        }
        for i in range(N)
    ]
    (folder / "requests.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    series = [f"{t},{g},{r}" for t, g, r in zip(run.tick_s, run.tokens_per_s, run.running, strict=True)]
    (folder / "timeseries.csv").write_text("\n".join(["t,gen_throughput,running", *series, ""]), encoding="utf-8")


def test_verb_prints_the_error_and_writes_a_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made()
    for name in "ab":
        write_run(tmp_path / "H100" / name, run)
    out = tmp_path / "own.json"
    assert command(["simulate", "--calibrate", str(tmp_path), "-o", str(out)]) == 0
    words = capsys.readouterr().out
    assert words.count("second half") == 4  # each run by itself, and the first one's constants on the second, twice
    assert "host constants of" in words
    assert read_profile(out).families["dense"].origins["host_s"] == "calibrated to a measured run"
    assert command(["simulate", "--calibrate", str(tmp_path / "H100" / "a"), "--gpu", "H100", "--json"]) == 0
    (body,) = json.loads(capsys.readouterr().out)["runs"]
    assert body["errors"]["tpot"]["ape_median"] < 0.04


@pytest.mark.data
def test_half_a_measured_run_predicts_the_other_half(data_dir: Path) -> None:
    from wattlane.sim import calibrate_runs

    for found in calibrate_runs(data_dir / "latency" / "llmservingsim-bench"):
        body = found.as_dict()
        if body["calibrated_on"].startswith("all constants"):
            continue
        tpot, first = body["errors"]["tpot"], body["errors"]["scheduled_to_first"]
        assert tpot["ape_median"] <= 0.5 * tpot["ape_median_queue"]
        assert first["simulated_p50_s"] == pytest.approx(first["measured_p50_s"], rel=0.15)
        assert body["running_nrmse"] <= 0.10
