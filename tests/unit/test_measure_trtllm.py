"""TensorRT-LLM's /energy_metrics: its exact form, its clock, and every other form refused."""

from __future__ import annotations

import json
import time
from itertools import pairwise

import pytest
from measure_fake_exporter import answering, trtllm_body

from wattlane.core.errors import MeasurementError
from wattlane.core.types import Boundary
from wattlane.measure.account import metered
from wattlane.measure.engines.base import Habits
from wattlane.measure.meters.trtllm import Offset, TrtllmMeter, read_answer
from wattlane.measure.pick import pick_meter
from wattlane.measure.recorder import Recorder

AHEAD_S = 12345.0  # the server's perf_counter has another zero


def counting(power_w: float, wait_s: float = 0.0):
    """Answers of a server that draws `power_w`; each comes `wait_s` after the counter was read."""

    def answer() -> tuple[int, str]:
        now_s = time.monotonic()
        body = trtllm_body(power_w * now_s, now_s + AHEAD_S)
        time.sleep(wait_s)
        return 200, body

    return answer


def test_the_counter_is_joules_of_the_servers_gpus():
    with answering({"/energy_metrics": lambda: (200, trtllm_body(1234.56789, 7.0))}) as url:
        reading = TrtllmMeter(f"{url}/v1").read()
    assert reading.energy_j == 1234.5679  # the server rounds to 0.1 mJ
    assert (reading.source, reading.boundary, reading.power_w) == ("trtllm", Boundary.GPU, None)


def test_slow_answers_do_not_shift_the_energy_because_the_servers_clock_dates_it():
    now_s, waits_s = [100.0], iter([0.002] + [0.4] * 40)

    def fetch(_url: str) -> bytes:
        now_s[0] += 0.001
        body = trtllm_body(500.0 * now_s[0], now_s[0] + AHEAD_S)
        now_s[0] += next(waits_s)
        return body.encode()

    meter = TrtllmMeter("x", clock=lambda: now_s[0], fetch=fetch)
    readings = []
    for _ in range(30):
        now_s[0] += 0.15
        readings.append(meter.read())
    assert [r.energy_j / 500.0 for r in readings] == pytest.approx([r.time_s for r in readings], abs=0.004)
    energy = metered(readings, readings[2].time_s + 0.1, readings[25].time_s + 0.1)
    assert energy.energy_j == pytest.approx(500.0 * (readings[25].time_s - readings[2].time_s), rel=1e-3)


def test_a_restarted_server_has_a_new_clock_and_time_still_ascends():
    offset = Offset()
    assert offset.see(10.0, 10.01, 500.0) == pytest.approx(10.005)
    assert offset.see(11.0, 11.3, 501.0) == pytest.approx(11.005, abs=1e-3)  # placed by the quick answer
    assert 20.0 <= offset.see(20.0, 20.2, 3.0) <= 20.2


def test_the_server_is_asked_at_most_ten_times_a_second():
    now_s, asked_s = [0.0], []

    def fetch(_url: str) -> bytes:
        asked_s.append(now_s[0])
        return trtllm_body(5.0, 1.0).encode()

    meter = TrtllmMeter("x", clock=lambda: now_s[0], fetch=fetch)
    while now_s[0] < 10.0:
        now_s[0] += 0.01
        meter.read()
    apart_s = [after - before for before, after in pairwise(asked_s[1:])]  # the first look is that of the constructor
    assert min(apart_s) >= 0.1 - 1e-9
    assert 80 <= len(asked_s) <= 102


def test_a_recorded_server_gives_the_energy_of_a_window():
    with answering({"/energy_metrics": counting(250.0)}) as url, Recorder(TrtllmMeter(url), None) as recorder:
        time.sleep(0.2)
        start_s = recorder.mark()
        time.sleep(0.5)
        end_s = recorder.mark()
    energy = metered(recorder.readings, start_s, end_s)
    assert energy.source == "trtllm counter"
    assert energy.energy_j_lo <= 250.0 * (end_s - start_s) <= energy.energy_j_hi
    assert energy.energy_j_hi - energy.energy_j_lo < 0.3 * energy.energy_j


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (
            503,
            json.dumps({"error": "Energy monitoring is not available"}),
            "does not meter its energy.*enable_energy_m",
        ),
        (404, "", "answers HTTP 404; expected trtllm-serve"),
        (200, "[]", "found a JSON list; expected"),
        (
            200,
            json.dumps({"energy": 5, "query_time": 1.0}),
            "found keys 'energy', 'query_time', no number under total_e",
        ),
        (200, json.dumps({"total_energy_j": "5", "query_time": True}), "no number under total_energy_j, query_time"),
        (200, "<html>", "Expecting value"),
    ],
)
def test_any_other_answer_is_refused_with_what_was_found(status, body, words):
    with (
        answering({"/energy_metrics": lambda: (status, body)}) as url,
        pytest.raises(MeasurementError, match=words),
    ):
        TrtllmMeter(url)


def test_a_server_that_fails_later_gives_no_value_and_not_zero():
    answers = iter([(200, trtllm_body(5.0, 1.0)), (503, "{}"), (200, '{"total_energy_j": null}')])
    with answering({"/energy_metrics": lambda: next(answers)}) as url:
        meter = TrtllmMeter(url)
        assert meter.read().energy_j is None
        time.sleep(0.11)
        assert meter.read().energy_j is None
    assert read_answer({"total_energy_j": 0, "query_time": 2}) == (0.0, 2.0)


def test_a_server_elsewhere_is_metered_by_itself_where_it_can():
    away = Habits(is_local=False)
    with answering({"/energy_metrics": lambda: (200, trtllm_body(5.0, 1.0))}) as url:
        picked = pick_meter(away, server_url=url)
    assert isinstance(picked.meter, TrtllmMeter)
    assert "TensorRT-LLM" in picked.reason
    with answering({}) as url:
        refused = pick_meter(away, server_url=url)
    assert refused.meter is None
    assert "do not see it, and it does not say what it draws" in refused.reason
