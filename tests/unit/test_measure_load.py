from __future__ import annotations

import asyncio

import numpy as np
import polars as pl
import pytest
from measure_fake_server import serving

from wattlane.core.errors import InputError, MeasurementError
from wattlane.core.served import COLUMNS, latency
from wattlane.core.types import Slo
from wattlane.core.workload import Workload
from wattlane.measure import Delivery, drive
from wattlane.measure.engines.base import Habits
from wattlane.measure.engines.external import ExternalEngine
from wattlane.measure.spec import Spec
from wattlane.measure.workloads import resolve_workload


def burst(n: int, input_tokens: int = 6, output_tokens: int = 8) -> Workload:
    return Workload(np.zeros(n), np.full(n, input_tokens), np.full(n, output_tokens))


@pytest.mark.parametrize("dialect", ["llamacpp", "vllm", "transformers"])
def test_tokens_come_from_usage_in_every_dialect(dialect):
    with serving(dialect) as server:
        table = drive(server.base_url, burst(3), Delivery("m", Habits(token_ids=(10, 20))))
    assert table["outcome"].to_list() == ["completed"] * 3
    assert table["input_tokens"].to_list() == [6] * 3
    assert table["output_tokens"].to_list() == [8] * 3
    assert set(COLUMNS) <= set(table.columns)
    assert (table["first_token_s"] > table["started_s"]).all()
    assert (table["end_s"] >= table["first_token_s"]).all()


def test_chunks_of_several_tokens_leave_gaps_as_observed_and_flagged():
    with serving("vllm") as server:
        merged = drive(server.base_url, burst(1), Delivery("m"))
    with serving("llamacpp") as server:
        single = drive(server.base_url, burst(1), Delivery("m"))
    assert (merged["chunks"][0], len(merged["gaps_s"][0]), merged["gaps_complete"][0]) == (4, 3, False)
    assert (single["chunks"][0], len(single["gaps_s"][0]), single["gaps_complete"][0]) == (8, 7, True)


def test_server_times_are_kept_only_where_reported():
    with serving("llamacpp") as server:
        table = drive(server.base_url, burst(1), Delivery("m"))
    assert table["server_prefill_s"][0] == pytest.approx(0.004)
    assert table["server_decode_s"][0] == pytest.approx(0.006)
    with serving("vllm") as server:
        assert drive(server.base_url, burst(1), Delivery("m"))["server_prefill_s"][0] is None


@pytest.mark.parametrize(
    ("behaviour", "outcome", "words", "status"),
    [
        ("bad_request", "refused", "prompt too long", 400),
        ("overloaded", "failed", "HTTP 503", 503),
        ("reset", "failed", "Client", 200),
        ("early_end", "failed", "before the server said it was finished", 200),
        ("error_event", "failed", "slot lost", 200),
        ("hang", "timed_out", "time limit", 200),
    ],
)
def test_every_way_to_fail_is_a_row_with_its_reason(behaviour, outcome, words, status):
    with serving(behaviour) as server:
        table = drive(server.base_url, burst(2), Delivery("m", limit_s=0.3))
    assert table["outcome"].to_list() == [outcome] * 2
    assert words in table["error"][0]
    assert table["http_status"].to_list() == [status] * 2
    assert table["output_tokens"].null_count() == 2


def test_nothing_listening_is_a_failed_row():
    table = drive("http://127.0.0.1:1", burst(1), Delivery("m"))
    assert table["outcome"][0] == "failed"
    assert table["first_token_s"][0] is None


def test_d12_a_windowed_workload_is_sent_at_the_end_of_its_windows_and_the_hold_counts_in_ttft():
    workload = resolve_workload("windowed:n=20,window_s=0.1,base=poisson,rate_rps=80,input=4,output=2", 0)
    with serving("llamacpp") as server:
        table = drive(server.base_url, workload, Delivery("m"))
    assert table["arrival_s"].to_numpy() == pytest.approx(workload.arrival_s)
    assert table["offered_s"].to_numpy() == pytest.approx(np.ceil(workload.arrival_s / 0.1) * 0.1)
    assert (table["started_s"] >= table["offered_s"]).all()
    held_s = float((table["offered_s"] - table["arrival_s"]).mean())
    assert held_s > 0.02
    assert latency(table, Slo()).ttft_p50_s > held_s / 2


def test_open_loop_sends_on_time_while_the_server_is_slow():
    arrivals = np.arange(10) * 0.02
    load = Workload(arrivals, np.full(10, 4), np.full(10, 8))
    with serving("llamacpp", pause_s=0.05) as server:
        table = drive(server.base_url, load, Delivery("m"))
    assert server.most_in_flight == 10
    # an answer takes 0.4 s: a client that waited for the one before would be late by that and more
    assert (table["started_s"] - table["offered_s"]).max() < 0.35
    assert (table["started_s"] >= table["offered_s"]).all()


def test_a_concurrency_cap_holds_and_its_wait_counts_towards_ttft():
    with serving("llamacpp", pause_s=0.01) as server:
        table = drive(server.base_url, burst(4), Delivery("m", concurrency=1))
    assert server.most_in_flight == 1
    waits = (table["release_s"] - table["arrival_s"]).sort()
    assert waits[3] > 0.2
    assert latency(table, Slo()).ttft_p99_s > waits[3]


def test_an_engine_that_ended_leaves_the_rest_as_failed_rows_without_waiting():
    looks = iter([None, None])
    load = Workload(np.array([0.0, 0.01, 3600.0]), np.full(3, 4), np.full(3, 2))
    told: list[tuple[int, int, int]] = []
    delivery = Delivery(
        "m", exit_reason=lambda: next(looks, "the engine ended"), on_progress=lambda *count: told.append(count)
    )
    with serving("llamacpp") as server:
        table = drive(server.base_url, load, delivery)
    assert table["outcome"][2] == "failed"
    assert table["error"][2] == "not sent: the engine ended"
    assert table["started_s"][2] is None
    assert max(told)[0] == 3


def test_prompts_are_seeded_different_and_of_the_asked_length():
    def prompts(seed):
        with serving("llamacpp") as server:
            drive(server.base_url, burst(3), Delivery("m", Habits({"ignore_eos": True}, (100, 200)), seed=seed))
        return sorted(tuple(body["prompt"]) for body in server.seen), server.seen

    first, bodies = prompts(1)
    assert first == prompts(1)[0]
    assert first != prompts(2)[0]
    assert len(set(first)) == 3
    assert {len(prompt) for prompt in first} == {6}
    assert all(body["ignore_eos"] and body["stream_options"] == {"include_usage": True} for body in bodies)


def test_chat_sends_text_messages():
    with serving("transformers") as server:
        table = drive(server.base_url, burst(1), Delivery("m", Habits(token_ids=(1, 2)), chat=True))
    assert len(server.seen[0]["messages"][0]["content"].split()) == 6
    assert table["outcome"][0] == "completed"


def test_wrong_delivery_is_reported_whole():
    with pytest.raises(InputError, match=r"concurrency is 0[\s\S]*limit_s is 0"):
        drive("http://127.0.0.1:1", burst(1), Delivery("m", concurrency=0, limit_s=0))


def test_an_external_engine_is_found_by_its_model_list():
    with serving("llamacpp") as server, ExternalEngine(f"{server.base_url}/v1/", Spec("http")) as engine:
        assert engine.base_url == server.base_url
        assert engine.model == "fake"
        assert engine.habits.request_fields == {"ignore_eos": True, "cache_prompt": False}
        assert engine.habits.is_local
        assert engine.pid is None
        assert engine.describe()["maker"] == "llamacpp"


def test_an_external_engine_that_does_not_answer_refuses_or_hides_its_models_is_told_apart():
    with (
        pytest.raises(MeasurementError, match="no OpenAI-compatible server answers"),
        ExternalEngine("http://127.0.0.1:1", Spec("http")),
    ):
        pass
    with serving("locked") as server, pytest.raises(MeasurementError, match="WATTLANE_API_KEY"):
        ExternalEngine(server.base_url, Spec("http")).__enter__()
    with serving("unlisted") as server:
        with pytest.raises(MeasurementError, match="lists no model"):
            ExternalEngine(server.base_url, Spec("http")).__enter__()
        named = ExternalEngine(server.base_url, Spec("http", {"model": "mine"}))
        assert named.__enter__().model == "mine"
        assert named.habits.token_ids is None


def test_completed_rows_without_text_are_dated_by_their_finish():
    with serving("llamacpp") as server:
        table = drive(server.base_url, burst(1, output_tokens=1), Delivery("m"))
    assert table["gaps_s"].to_list() == [[]]
    assert table["gaps_complete"].to_list() == [True]
    assert table.schema["gaps_s"] == pl.List(pl.Float32)


def test_driving_works_inside_a_running_event_loop():
    async def notebook():
        return drive(server.base_url, burst(1), Delivery("m"))

    with serving("llamacpp") as server:
        assert asyncio.run(notebook())["outcome"][0] == "completed"
