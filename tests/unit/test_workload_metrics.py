"""Workloads rebuilt from Prometheus histories of a known workload: totals, bounds, restarts, gaps, and bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prometheus_history import (
    BOUNDS,
    STEP_S,
    STEPS,
    counters,
    gauge,
    per_step,
    response,
    responses_of,
    saved,
    truth,
)
from wattlane.core.errors import FileFormatError, InputError
from wattlane.core.workload import Workload
from wattlane.workload.metrics.convert import from_metrics
from wattlane.workload.metrics.histograms import default_cap
from wattlane.workload.metrics.queries import (
    GPU_ENERGY,
    GPU_POWER,
    INPUT_BUCKETS,
    INPUT_SUM,
    OUTPUT_BUCKETS,
    OUTPUT_SUM,
    REQUESTS,
)
from wattlane.workload.metrics.sources import Range, unix_time


def test_requests_and_tokens_of_every_step_come_back_exactly_when_sums_are_recorded(tmp_path: Path) -> None:
    known = truth()
    made = from_metrics(saved(tmp_path, responses_of(known)), seed=3)
    assert len(made.workload) == len(known)
    assert per_step(made.workload) == per_step(known)
    for side in ("input_tokens", "output_tokens"):
        step = (known.arrival_s // STEP_S).astype(int)
        of_known = np.bincount(step, weights=getattr(known, side))
        of_made = np.bincount((made.workload.arrival_s // STEP_S).astype(int), weights=getattr(made.workload, side))
        assert of_made.tolist() == of_known.tolist()
    assert made.information_loss.input.unmatched_tokens == 0
    assert made.information_loss.output.unmatched_tokens == 0
    assert made.power is None


def test_the_histogram_comes_back_exactly(tmp_path: Path) -> None:
    known = truth()
    made = from_metrics(saved(tmp_path, responses_of(known)), seed=3)
    edges = [0.5, *(bound + 0.5 for bound in BOUNDS), 1e9]
    for side in ("input_tokens", "output_tokens"):
        of_made, _ = np.histogram(getattr(made.workload, side), edges)
        of_known, _ = np.histogram(getattr(known, side), edges)
        assert of_made.tolist() == of_known.tolist()


@pytest.mark.parametrize("spacing", ["log", "uniform"])
def test_without_sums_the_mean_lies_in_the_stated_bounds(tmp_path: Path, spacing: str) -> None:
    known = truth()
    path = saved(tmp_path, responses_of(known, without=(INPUT_SUM, OUTPUT_SUM, REQUESTS)))
    made = from_metrics(path, seed=3, spacing=spacing)
    assert len(made.workload) == len(known)
    for loss, tokens in (
        (made.information_loss.input, known.input_tokens),
        (made.information_loss.output, known.output_tokens),
    ):
        assert not loss.sum_known
        assert loss.unmatched_tokens is None
        assert loss.mean_lo_tokens <= tokens.mean() <= loss.mean_hi_tokens
        assert loss.mean_lo_tokens <= loss.mean_tokens <= loss.mean_hi_tokens
        assert loss.mean_tokens == pytest.approx(tokens.mean(), rel=0.2)
        assert 2 < loss.entropy_bits < 12
        assert 0.2 < loss.relative_width < 0.6


def test_the_true_input_output_product_lies_in_the_stated_range(tmp_path: Path) -> None:
    known = truth()
    outputs = np.sort(known.output_tokens)[np.argsort(np.argsort(known.input_tokens))]
    correlated = Workload(known.arrival_s, known.input_tokens, outputs)
    made = from_metrics(saved(tmp_path, responses_of(correlated)), seed=3)
    here = float(made.workload.input_tokens @ made.workload.output_tokens)
    true = float(correlated.input_tokens @ correlated.output_tokens)
    loss = made.information_loss
    assert loss.product_lo < 0.7
    assert true / here > 1.5
    assert loss.product_lo * 0.9 < true / here < loss.product_hi * 1.1


def test_same_seed_same_bytes_and_another_seed_other_arrivals(tmp_path: Path) -> None:
    path = saved(tmp_path, responses_of(truth()))
    one, other, third = (from_metrics(path, seed=seed).workload for seed in (1, 1, 2))
    assert one.arrival_s.tobytes() == other.arrival_s.tobytes()
    assert one.input_tokens.tobytes() == other.input_tokens.tobytes()
    assert one.output_tokens.tobytes() == other.output_tokens.tobytes()
    assert one.arrival_s.tobytes() != third.arrival_s.tobytes()
    assert sorted(one.input_tokens) != one.input_tokens.tolist()


def test_a_restarted_server_loses_only_what_it_had_not_shown(tmp_path: Path) -> None:
    known = truth()
    responses = {}
    for metric, series in counters(known).items():
        changed = [(labels, np.where(np.arange(STEPS + 1) > 12, v - v[12], v)) for labels, v in series]
        responses[metric] = response(metric, changed)
    made = from_metrics(saved(tmp_path, responses), seed=3)
    assert per_step(made.workload) == per_step(known)
    assert made.workload.input_tokens.sum() == known.input_tokens.sum()
    assert made.information_loss.restarts >= 2


def test_a_second_server_that_appears_later_is_counted_from_zero(tmp_path: Path) -> None:
    first, second = truth(1), truth(2)
    found, late = counters(first), counters(second, "b")
    responses = {metric: response(metric, series) for metric, series in found.items()}
    for metric, series in late.items():
        responses[metric]["data"]["result"] += response(metric, series, slice(10, None))["data"]["result"]
    made = from_metrics(saved(tmp_path, responses), seed=3)
    assert len(made.workload) == len(first) + len(second)
    assert made.workload.output_tokens.sum() == first.output_tokens.sum() + second.output_tokens.sum()
    assert made.information_loss.born_requests == np.searchsorted(second.arrival_s, 10 * STEP_S, side="right")


def test_missing_samples_are_bridged_and_counted(tmp_path: Path) -> None:
    known = truth()
    kept = [i for i in range(STEPS + 1) if not 14 <= i <= 17]
    responses = responses_of(known)
    for body in responses.values():
        for series in body["data"]["result"]:
            series["values"] = [series["values"][i] for i in kept]
    made = from_metrics(saved(tmp_path, responses), seed=3)
    assert len(made.workload) == len(known)
    assert made.workload.input_tokens.sum() == known.input_tokens.sum()
    assert made.information_loss.gap_steps == 4 * 2
    counts = per_step(made.workload)
    assert max(counts[13:18]) - min(counts[13:18]) <= 1


def test_measured_power_of_all_gpus_comes_with_the_workload(tmp_path: Path) -> None:
    watts = [np.full(STEPS + 1, 300.0), np.linspace(100, 400, STEPS + 1)]
    made = from_metrics(saved(tmp_path, {**responses_of(truth()), GPU_POWER: gauge(GPU_POWER, watts)}))
    assert made.power is not None
    assert made.power.gpus == 2
    assert made.power.metric == GPU_POWER
    assert made.power.energy_j == pytest.approx((300 + 250) * STEP_S * STEPS)
    assert made.power.power_w[0] == pytest.approx(300 + 105)


def test_energy_counters_are_preferred_and_do_not_count_from_zero(tmp_path: Path) -> None:
    energy_mj = 5e12 + np.arange(STEPS + 1) * STEP_S * 250e3
    body = gauge(GPU_ENERGY, [energy_mj, energy_mj])
    body["data"]["result"][1]["values"] = body["data"]["result"][1]["values"][3:]
    responses = {**responses_of(truth()), GPU_ENERGY: body, GPU_POWER: gauge(GPU_POWER, [np.ones(STEPS + 1)])}
    power = from_metrics(saved(tmp_path, responses)).power
    assert power is not None
    assert power.metric == GPU_ENERGY
    assert np.isnan(power.power_w[:3]).all()
    assert power.power_w[3:] == pytest.approx(np.full(STEPS - 3, 500.0))
    assert power.covered == pytest.approx(27 / 30)
    assert power.energy_j is None


def test_lengths_past_the_last_bound_stay_below_the_cap(tmp_path: Path) -> None:
    known = truth()
    made = from_metrics(saved(tmp_path, responses_of(known, without=(INPUT_SUM,))), max_input_tokens=32_768)
    assert made.information_loss.input.cap_tokens == 32_768
    assert made.workload.input_tokens.max() <= 32_768
    assert made.information_loss.output.cap_tokens == 50_000
    assert [default_cap(x) for x in (1, 2, 5, 10, 20_000, 131_072)] == [2, 5, 10, 20, 50_000, 200_000]


def test_a_folder_of_responses_reads_like_the_file(tmp_path: Path) -> None:
    responses = responses_of(truth())
    folder = tmp_path / "folder"
    folder.mkdir()
    for number, (metric, body) in enumerate(responses.items()):
        (folder / f"{number}.json").write_text(json.dumps(body), encoding="utf-8")
        for series in body["data"]["result"] if metric == INPUT_SUM else ():
            del series["metric"]["__name__"]
    (folder / f"{list(responses).index(INPUT_SUM)}.json").unlink()
    (folder / "vllm_request_prompt_tokens_sum.json").write_text(json.dumps(responses[INPUT_SUM]), encoding="utf-8")
    (folder / "other.json").write_text(json.dumps({"status": "success"}), encoding="utf-8")
    one, other = from_metrics(folder, seed=1), from_metrics(saved(tmp_path, responses), seed=1)
    assert one.workload.input_tokens.tobytes() == other.workload.input_tokens.tobytes()
    assert one.information_loss == other.information_loss


@pytest.mark.parametrize(
    ("source", "span", "words"),
    [
        ("http://127.0.0.1:9", None, "needs a start and an end"),
        ("file.json", Range(0, 600), "a range is for a server"),
        ("http://127.0.0.1:9", Range(600, 0), "start < end"),
        ("http://127.0.0.1:9", Range(0, 86_400 * 30), "use 236 s or more"),
        ("absent.json", None, "no such file"),
    ],
)
def test_a_source_and_range_that_do_not_fit_are_refused(source: str, span: Range | None, words: str) -> None:
    with pytest.raises(InputError, match=words):
        from_metrics(source, span=span)


def test_missing_metrics_are_reported_together(tmp_path: Path) -> None:
    path = saved(tmp_path, {INPUT_SUM: response(INPUT_SUM, [])})
    with pytest.raises(InputError, match="2 problems") as raised:
        from_metrics(path)
    assert f"{INPUT_BUCKETS} is missing" in str(raised.value)
    assert f"{OUTPUT_BUCKETS} is missing" in str(raised.value)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "found a JSON list"),
        ({"status": "error", "error": "timeout"}, "timeout"),
        ({"status": "success", "data": {"resultType": "vector", "result": []}}, "'vector'; expected 'matrix'"),
        ({"status": "success", "data": 3}, "'int'; expected 'matrix'"),
        ({"status": "success", "data": {"resultType": "matrix", "result": [{"values": []}]}}, "series 0"),
        (
            {
                "status": "success",
                "data": {"resultType": "matrix", "result": [{"metric": {"le": "1"}, "values": [[2, "1"], [1, "1"]]}]},
            },
            "do not ascend",
        ),
    ],
)
def test_malformed_responses_name_the_metric_and_the_fault(tmp_path: Path, body: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        from_metrics(saved(tmp_path, {**responses_of(truth()), OUTPUT_BUCKETS: body}))
    assert OUTPUT_BUCKETS in str(raised.value)
    assert "is missing" not in str(raised.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"queries": 3}'])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileFormatError):
        from_metrics(path)


def test_servers_with_different_buckets_are_refused(tmp_path: Path) -> None:
    responses, other = responses_of(truth()), counters(truth(), "b")
    short = [(labels, v) for labels, v in other[INPUT_BUCKETS] if labels["le"] != "20000.0"]
    responses[INPUT_BUCKETS]["data"]["result"] += response(INPUT_BUCKETS, short)["data"]["result"]
    with pytest.raises(InputError, match="select one model"):
        from_metrics(saved(tmp_path, responses))


def test_buckets_that_share_no_sample_time_are_refused(tmp_path: Path) -> None:
    responses = responses_of(truth())
    last = responses[OUTPUT_BUCKETS]["data"]["result"][-1]
    last["values"] = [[time + 1, value] for time, value in last["values"]]
    with pytest.raises(InputError, match="share no sample time"):
        from_metrics(saved(tmp_path, responses))


def test_buckets_without_a_bound_are_refused(tmp_path: Path) -> None:
    responses = responses_of(truth())
    for series in responses[OUTPUT_BUCKETS]["data"]["result"]:
        series["metric"]["le"] = "many"
    responses[OUTPUT_BUCKETS]["data"]["result"] = responses[OUTPUT_BUCKETS]["data"]["result"][:1]
    with pytest.raises(InputError, match="expected label le"):
        from_metrics(saved(tmp_path, responses))


def test_a_range_without_traffic_is_refused(tmp_path: Path) -> None:
    responses = responses_of(truth())
    for body in responses.values():
        for series in body["data"]["result"]:
            series["values"] = [[time, "7"] for time, _ in series["values"]]
    with pytest.raises(InputError, match="3 problems"):
        from_metrics(saved(tmp_path, responses))


def test_one_sample_time_is_too_few(tmp_path: Path) -> None:
    responses = responses_of(truth())
    for body in responses.values():
        for series in body["data"]["result"]:
            series["values"] = series["values"][:1]
    with pytest.raises(InputError, match="found 1 sample times"):
        from_metrics(saved(tmp_path, responses))


def test_samples_that_are_not_numbers_are_left_out(tmp_path: Path) -> None:
    known = truth()
    responses = responses_of(known)
    for series in responses[INPUT_BUCKETS]["data"]["result"]:
        series["values"][5][1] = "NaN"
    assert len(from_metrics(saved(tmp_path, responses)).workload) == len(known)


def test_the_loss_is_a_json_object(tmp_path: Path) -> None:
    body = from_metrics(saved(tmp_path, responses_of(truth()))).information_loss.as_dict()
    assert json.loads(json.dumps(body, allow_nan=False))["input"]["sum_known"] is True
    assert len(body["assumptions"]) == 3


def test_a_negative_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="seed is -1"):
        from_metrics(saved(tmp_path, responses_of(truth())), seed=-1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12.5", 12.5),
        ("2023-11-14T22:13:20Z", 1.7e9),
        ("2023-11-14 22:13:20", 1.7e9),
        ("2023-11-14T23:13:20+01:00", 1.7e9),
    ],
)
def test_times_are_read_as_unix_or_iso(text: str, expected: float) -> None:
    assert unix_time(text) == expected


def test_a_time_that_is_neither_is_refused() -> None:
    with pytest.raises(InputError, match="ISO 8601"):
        unix_time("yesterday")
