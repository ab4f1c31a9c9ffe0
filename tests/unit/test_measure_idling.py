"""Idle at three levels: each measured with its interval or absent with its reason, on the devices of the run alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import time

import pytest
from measure_fake_exporter import Exporter, exporting, stepped
from measure_fake_nvml import FakeNvml
from measure_fake_server import serving

from wattlane.core.errors import MeasurementError
from wattlane.core.files import read_json
from wattlane.core.types import Boundary
from wattlane.measure import idling, run, trial
from wattlane.measure.account import metered
from wattlane.measure.energy.idle import IdleLevel
from wattlane.measure.engines.base import Habits
from wattlane.measure.engines.cuda_context import held_context
from wattlane.measure.engines.external import ExternalEngine
from wattlane.measure.idling import Before, Watched, levels, running_already, watch_before
from wattlane.measure.meters.dcgm import DcgmMeter
from wattlane.measure.meters.nvml import NvmlMeter
from wattlane.measure.pick import Picked, pick_meter
from wattlane.measure.readings import Channel, Reading
from wattlane.measure.recorder import Recorder
from wattlane.measure.spec import Spec

NONE, CONTEXT, LOADED = IdleLevel
UUID = "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"
DRIVER = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int cuInit(unsigned f) { return 0; }
int cuDeviceGetCount(int *n) { *n = 1; return 0; }
int cuDeviceGet(int *d, int i) { *d = i; return 0; }
int cuDeviceGetUuid(unsigned char *u, int d) { for (int i = 0; i < 16; i++) u[i] = i; return 0; }
int cuDevicePrimaryCtxRetain(void **c, int d) {
    FILE *flag = fopen(getenv("CONTEXT_FLAG"), "w");
    fclose(flag);
    return getenv("CONTEXT_REFUSED") ? 2 : 0;
}
"""


class Card:
    """A counter whose power is what `power_w()` says at each read."""

    def __init__(self, power_w, device=UUID) -> None:
        self.power_w, self.device = power_w, device
        self.energy_j, self.last_s = 1000.0, time.monotonic()

    def read(self) -> Reading:
        now_s = time.monotonic()
        self.energy_j, self.last_s = self.energy_j + self.power_w() * (now_s - self.last_s), now_s
        return Reading(now_s, "card", Boundary.GPU, (Channel(self.device, energy_j=self.energy_j),))


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """A CUDA driver library that makes nothing but a file when a context is made."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here")
    folder = tmp_path_factory.mktemp("driver")
    (folder / "cuda.c").write_text(DRIVER)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "libcuda.so", folder / "cuda.c"], check=True)
    return str(folder / "libcuda.so")


def test_both_levels_before_an_engine_are_measured_apart(driver, tmp_path, monkeypatch):
    flag = tmp_path / "context"
    monkeypatch.setenv("CONTEXT_FLAG", str(flag))
    card = Card(lambda: 95.0 if flag.exists() else 60.0)
    before = watch_before(Picked(card, "given"), 0.25, runs_on_gpu=None, library=driver)
    first, second, third = levels(before, [card.read()], "given", idling.ABSENT, 0.0)
    assert (first.level, second.level, third.level) == tuple(IdleLevel)
    assert first.power_w == pytest.approx(60.0, rel=0.02)
    assert second.power_w == pytest.approx(95.0, rel=0.02)
    about = second.as_dict()
    assert about["power_w_lo"] < about["power_w"] < about["power_w_hi"]
    assert (about["status"], about["reason"]) == ("measured", "")
    assert third.as_dict()["power_w"] is None


def test_the_work_before_and_after_an_idle_window_is_not_beside_its_edges():
    """A card whose power falls with the warm-up and rises with the workload, right before and behind the waiting."""
    switch = {"w": 600.0}
    with Recorder(Card(lambda: switch["w"]), None) as recorder:
        time.sleep(0.1)
        switch["w"], ended_s = 70.0, time.monotonic()
        start_s, end_s = idling.idle_window(recorder, 0.4)
        switch["w"], began_s = 600.0, time.monotonic()
    assert min(start_s - ended_s, began_s - end_s) >= 0.1
    idle = metered(recorder.readings, start_s, end_s)
    assert idle.energy_j == pytest.approx(70.0 * (end_s - start_s), rel=0.01)


def test_the_context_lives_as_long_as_its_block_and_a_refusal_is_told(driver, tmp_path, monkeypatch):
    monkeypatch.setenv("CONTEXT_FLAG", str(tmp_path / "context"))
    with held_context(driver) as uuids:
        assert uuids == (UUID,)
    monkeypatch.setenv("CONTEXT_REFUSED", "1")
    with (
        pytest.raises(MeasurementError, match=r"no CUDA context can be made.*cuDevicePrimaryCtxRetain gives error 2"),
        held_context(driver),
    ):
        pass


@pytest.mark.parametrize(
    ("runs_on_gpu", "words"),
    [(False, "the engine runs on the CPU and makes no context"), (None, "no CUDA context can be made here (no-such")],
)
def test_a_level_that_cannot_be_had_says_why(runs_on_gpu, words):
    card = Card(lambda: 60.0)
    before = watch_before(Picked(card, "given"), 0.1, runs_on_gpu=runs_on_gpu, library="no-such-libcuda.so.1")
    first, second, _ = levels(before, [card.read()], "given", idling.ABSENT, 0.0)
    assert first.power_w == pytest.approx(60.0, rel=0.1)
    assert second.power_w is None
    assert second.reason.startswith(words)


def test_without_a_meter_or_before_a_foreign_server_every_level_is_absent_with_its_reason():
    nothing = watch_before(Picked(None, "no sensor here"), 9.0, runs_on_gpu=None)
    assert {one.reason for one in levels(nothing, [], "no sensor here", idling.ABSENT, 0.0)} == {"no sensor here"}
    foreign = levels(running_already(), [Card(lambda: 1.0).read()], "", idling.ABSENT, 0.0)
    assert "ran before the measurement" in foreign[0].reason
    assert foreign[0].as_dict()["status"] == "absent"


def test_only_the_devices_of_the_run_count_and_those_that_others_used_do_not():
    def reading(time_s):
        return Reading(time_s, "nvml", Boundary.GPU, tuple(Channel(d, energy_j=w * time_s) for d, w in watts.items()))

    watts = {"GPU-0": 70.0, "GPU-1": 300.0}
    both = tuple(reading(0.05 * i) for i in range(60))
    before = Before({NONE: Watched(both, (0.5, 2.5), frozenset({"GPU-0"}))}, {})
    assert levels(before, [Card(lambda: 0.0, "GPU-0").read()], "", idling.ABSENT, 0.0)[0].power_w == pytest.approx(70.0)
    busy = levels(before, [Card(lambda: 0.0, "GPU-1").read()], "", idling.ABSENT, 0.0)[0]
    assert "GPU-1 was not at that level: another process computed on it" in busy.reason
    unseen = levels(before, [Card(lambda: 0.0, "GPU-7").read()], "", idling.ABSENT, 0.0)[0]
    assert "GPU-7 was not watched" in unseen.reason


def test_before_an_engine_starts_every_card_is_watched_and_the_busy_ones_are_known():
    def no_rapl():
        raise MeasurementError("no RAPL")

    library = FakeNvml(busy=(1,))
    every = pick_meter(Habits(), library, no_rapl, started=False)
    assert isinstance(every.meter, NvmlMeter)
    assert every.meter.uuids == ("GPU-0", "GPU-1")
    before = watch_before(every, 0.05, runs_on_gpu=None, library="no-such-libcuda.so.1")
    assert before.watched[NONE].devices == {"GPU-0"}


def test_an_idle_window_on_an_exporter_holds_five_refreshes_and_a_slow_one_is_refused(monkeypatch):
    monkeypatch.setattr(idling, "LOOK_S", 0.05)
    exporter = Exporter(*stepped(75.0, 75.0, 0.0), refresh_s=0.1)
    with exporting(exporter) as url:
        before = watch_before(Picked(DcgmMeter(f"{url}/metrics"), ""), 0.2, runs_on_gpu=False)
    start_s, end_s = before.watched[NONE].edges_s
    assert end_s - start_s >= 0.45
    # a loaded machine refreshes late: the interval, which holds the lag, is what must be right then
    (level, *_) = levels(before, before.watched[NONE].readings, "", idling.ABSENT, 0.0)
    about = level.as_dict()
    assert about["power_w_lo"] <= 75.0 <= about["power_w_hi"]
    monkeypatch.setattr(idling, "LONGEST_S", 0.4)
    slow = Exporter(*stepped(75.0, 75.0, 0.0), refresh_s=30.0)
    with exporting(slow) as url:
        refused = watch_before(Picked(DcgmMeter(f"{url}/metrics"), ""), 0.2, runs_on_gpu=None)
    assert "an idle level would take above 0 s" in refused.reasons[NONE]
    assert refused.reasons[CONTEXT] == refused.reasons[NONE]


def test_a_trial_records_the_levels_and_net_is_above_the_weights_exactly(tmp_path, monkeypatch):
    watts = {"now": 50.0}

    class Started(ExternalEngine):
        """A server of ours: the card draws more once it is up."""

        def __enter__(self):
            watts["now"] = 80.0
            return super().__enter__()

    monkeypatch.setattr(trial, "IDLE_WINDOW_S", 0.25)
    monkeypatch.setattr(trial, "ExternalEngine", type("Other", (), {}))  # it is not somebody else's
    with serving("llamacpp", pause_s=0.02) as server:
        monkeypatch.setattr(trial, "open_engine", lambda _target: Started(server.base_url, Spec("http")))
        result = run("own", "burst:n=2,input=4,output=8", tmp_path, meter=Card(lambda: watts["now"]))
    body = read_json(tmp_path / "measurement.json", "measurement")
    assert body["idle"]["no_context"]["power_w"] == pytest.approx(50.0, rel=0.05)
    assert body["idle"]["context"]["status"] == "absent"
    assert body["idle"]["context"]["reason"]
    assert body["idle"]["weights_loaded"]["power_w"] == body["idle_w"] == pytest.approx(80.0, rel=0.05)
    assert body["net_energy"]["energy_j"] == body["energy"]["energy_j"] - body["idle_w"] * body["window_s"]
    assert [one.level for one in result.idle] == list(IdleLevel)
    json.dumps(body["idle"])
