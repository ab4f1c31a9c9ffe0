"""A measurement says what its checks found: at idle watts it is quarantined, on a card that works it is not."""

from __future__ import annotations

import os
import re
import time
from types import SimpleNamespace

import polars as pl
import pytest
from measure_fake_nvml import FakeNvml
from measure_fake_server import serving

from wattlane.core.files import read_json, read_parquet
from wattlane.measure import run, trial
from wattlane.measure.meters import loads
from wattlane.measure.meters.card import CardSensor, SimulatedCard
from wattlane.measure.meters.cpu import process_tree
from wattlane.measure.meters.nvml import NvmlMeter
from wattlane.measure.meters.simulated import SimulatedMeter
from wattlane.measure.scenes import trial_activity
from wattlane.measure.watch import Watch, with_looks
from wattlane.measure.working import working_cards

TWO_SECONDS = "burst:n=4,input=6,output=24"


@pytest.fixture(autouse=True)
def short_idle(monkeypatch):
    monkeypatch.setattr(trial, "IDLE_WINDOW_S", 1.0)


def test_a_busy_run_on_a_card_at_idle_is_quarantined_in_its_files(tmp_path):
    with serving("llamacpp", pause_s=0.08) as server:
        result = run(server.base_url, TWO_SECONDS, tmp_path, meter=SimulatedMeter.constant(80.0, tick_s=0.02))
    assert not result.valid
    assert result.complete
    body = read_json(tmp_path / "measurement.json", "measurement")
    assert (body["valid"], body["verdict"]) == (False, "quarantined")
    told = re.match(r"busy_at_idle: card 0 drew (\d+) W on average, \S+ times its (\d+) W idle", body["reasons"][0])
    assert [int(watts) for watts in told.groups()] == pytest.approx([80, 80], abs=3)
    assert body["energy"]["energy_j"] == pytest.approx(80.0 * body["window_s"], rel=0.02)


def test_the_same_run_on_a_card_that_works_is_valid(tmp_path):
    class Woken:
        """A card whose work begins 1.4 s after the first read: the idle window of 1 s lies between rests of 0.25 s."""

        card = None

        def read(self):
            load = loads.steps("woken", [0.0, 1.4, 60.0], [80.0, 400.0])
            sensor = CardSensor(tick_s=0.02, duty=1.0, sample_period_s=0.02, noise=0.01)
            self.card = self.card or SimulatedCard(load, sensor)
            return self.card.read()

    with serving("llamacpp", pause_s=0.08) as server:
        result = run(server.base_url, TWO_SECONDS, tmp_path, meter=Woken())
    assert result.valid, result.reasons
    assert result.verdict in ("valid", "warned")
    assert not any(reason.startswith("busy_") for reason in result.reasons)


def served(sent_s, offered_s, chunks=4, tokens=4):
    n = len(sent_s)
    return pl.DataFrame(
        {
            "offered_s": offered_s,
            "started_s": sent_s,
            "end_s": [s + 1.0 for s in sent_s],
            "outcome": ["completed"] * n,
            "chunks": [chunks] * n,
            "output_tokens": [tokens] * n,
        }
    )


def test_rates_come_from_open_loops_only_and_chunks_contradict_only_when_more_than_tokens():
    offered = [0.1 * i for i in range(30)]
    late = [0.2 * i for i in range(30)]
    found = trial_activity(served(late, offered), (100.0, 110.0), 8.0, 2.0, (), open_loop=True)
    assert found.offered_per_s == pytest.approx(10.0)
    assert found.sent_per_s == pytest.approx(5.0)
    assert (found.busy_share, found.client_core_share) == (0.8, 0.2)
    assert found.last_end_s == pytest.approx(106.8)
    assert found.client_tokens is None
    closed = trial_activity(served(late, offered, chunks=5), (0.0, 10.0), 8.0, 2.0, (), open_loop=False)
    assert (closed.offered_per_s, closed.client_tokens, closed.server_tokens) == (None, 150, 120)
    burst = trial_activity(served([0.0] * 30, [0.0] * 30), (0.0, 10.0), 8.0, 2.0, (), open_loop=True)
    assert burst.sent_per_s is None


def test_working_cards_are_those_with_a_process_of_the_engine():
    library = FakeNvml(busy=(0, 1))
    library.nvmlDeviceGetComputeRunningProcesses = lambda handle: [SimpleNamespace(pid=(1, os.getpid())[handle])]
    meter = NvmlMeter(["GPU-0", "GPU-1"], library)
    assert working_cards(meter, os.getpid()) == ("GPU-1",)
    assert working_cards(meter, None) is None
    assert working_cards(SimulatedMeter.constant(1.0), os.getpid()) is None
    assert os.getpid() in process_tree(os.getppid())


def test_looks_lie_among_the_readings_of_the_record(tmp_path):
    with Watch.of(NvmlMeter(["GPU-0"], FakeNvml())) as watch:
        time.sleep(0.05)
    assert watch.looks[0].device == "GPU-0"
    readings = pl.DataFrame({"time_s": [watch.looks[0].time_s - 1.0], "source": ["nvml"], "device": ["GPU-0"]})
    whole = with_looks(readings, watch.table(0.0))
    assert whole["source"].to_list()[:2] == ["nvml", "health"]
    whole.write_parquet(tmp_path / "t.parquet")
    assert len(read_parquet(tmp_path / "t.parquet", None, ["sm_clock_hz", "throttle"])) == len(whole)
