"""The meter doctor: sensors tested on simulated cards with known flaws, and records checked after the fact."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from wattlane.cli.app import run as command
from wattlane.core.errors import FileFormatError, InputError, MeasurementError
from wattlane.core.files import write_json, write_parquet
from wattlane.core.types import Boundary, Origin
from wattlane.measure import check_telemetry, checkup
from wattlane.measure.meters import loads
from wattlane.measure.meters.card import CardPriors, CardSensor, SimulatedCard
from wattlane.measure.readings import Channel, Reading
from wattlane.measure.recorder import Recorder
from wattlane.measure.scenes import telemetry_scene
from wattlane.measure.selftest import self_test
from wattlane.measure.validity.codes import Code
from wattlane.measure.validity.scene import CardFacts, Health, Throttle
from wattlane.measure.watch import Watch, with_looks

BUSY = loads.square_wave(110.0, 420.0, 2.9, 100.0)


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class Changed:
    """A meter whose channels pass through a function of (time, channel)."""

    def __init__(self, meter, change):
        self.meter, self.change = meter, change

    def read(self):
        reading = self.meter.read()
        return replace(reading, channels=tuple(self.change(reading.time_s, c) for c in reading.channels))


def examined(sensor=None, change=None, seconds=10.0, load=BUSY, facts=None):
    clock = Clock()
    meter = SimulatedCard(load, sensor or CardPriors().draw(3), clock)
    meter = meter if change is None else Changed(meter, change)
    (found,) = self_test(meter, seconds, facts=facts, clock=clock, sleep=clock.sleep)
    return found


def test_a_sound_card_has_its_periods_found_and_its_counter_chosen():
    sensor = replace(CardPriors().draw(3), tick_s=0.08, sample_period_s=0.1)
    found = examined(sensor)
    assert found.counter_period_s == pytest.approx(0.08, abs=0.006)
    assert found.power_period_s == pytest.approx(0.1, abs=0.006)
    assert found.averaging_s == pytest.approx(0.0, abs=0.1)
    assert abs(found.gap) < 0.05
    assert (found.best, found.reasons) == ("energy counter", ())
    assert [line.status for line in found.findings()] == ["ok"]


@pytest.mark.parametrize("seed", range(6))
def test_sound_cards_of_many_seeds_pass(seed):
    assert examined(CardPriors().draw(seed)).reasons == ()


def test_averaging_is_seen_under_a_changing_load_and_not_claimed_under_a_steady_one():
    averaged = examined(replace(CardPriors().draw(3), has_power=False))
    assert averaged.averaging_s == pytest.approx(1.0, abs=0.2)
    steady = examined(replace(CardPriors().draw(3), has_power=False), load=loads.constant(300.0))
    assert steady.averaging_s is None
    assert "averaging not seen" in steady.findings()[0].detail


@pytest.mark.parametrize(
    ("change", "code", "best"),
    [
        (lambda t, c: replace(c, energy_j=c.energy_j * 0.57), Code.COUNTER_DISAGREES, "instant power, integrated"),
        (lambda t, c: replace(c, energy_j=c.energy_j * 1e3), Code.WRONG_UNIT, "none"),
        (lambda t, c: replace(c, energy_j=7.0), Code.COUNTER_FROZEN, "instant power, integrated"),
        (
            lambda t, c: replace(c, energy_j=c.energy_j if t < 55 else t),
            Code.COUNTER_RESET,
            "instant power, integrated",
        ),
        (lambda t, c: Channel(c.device, None, 0.0, None), Code.NONPOSITIVE_ENERGY, "none"),
        (lambda t, c: Channel(c.device, None, 100.0 + t // 30, None), Code.STALE_SOURCE, "none"),
    ],
)
def test_each_fault_of_a_sensor_is_named_and_the_source_chosen_around_it(change, code, best):
    found = examined(change=change)
    assert found.faulty
    assert found.reasons[0].code is code
    assert found.best == best
    assert found.findings()[1].advice


def test_a_card_without_a_counter_falls_back_to_power():
    assert examined(replace(CardPriors().draw(3), has_counter=False)).best == "instant power, integrated"
    only_average = examined(replace(CardPriors().draw(3), has_counter=False, has_power=False))
    assert only_average.best.startswith("averaged power")


def test_power_above_the_limit_is_a_fault_of_the_sensor():
    facts = {"card 0": CardFacts(limit_w=150.0)}
    assert examined(facts=facts).reasons[0].code is Code.ABOVE_LIMIT


def test_too_short_a_self_test_is_refused():
    with pytest.raises(InputError, match=r"0\.1 s was asked; expected at least 0\.5 s"):
        examined(seconds=0.1)


def test_without_sensors_the_doctor_says_so_at_once(monkeypatch, capsys):
    def none(*_):
        raise MeasurementError("no driver here")

    monkeypatch.setattr(checkup.nvml, "connect", none)
    monkeypatch.setattr("wattlane.measure.meters.rapl.RaplMeter", none)
    began_s = time.process_time()
    assert command(["doctor", "--self-test", "5"]) == 4
    assert time.process_time() - began_s < 1.0
    out, err = capsys.readouterr()
    assert "no energy sensor to test on this machine: no driver here" in err
    assert "0 J" not in out + err


def test_the_command_tests_a_simulated_card_in_real_time(capsys):
    assert command(["doctor", "--simulated", "3", "--self-test", "1.5", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert findings[0]["name"] == "simulated card 3"
    assert "best source: energy counter" in findings[0]["detail"]


def recorded(folder, sensor=None, load=BUSY, looks=(), body=None):
    """Write the telemetry of 20 s on a simulated card, as a run does."""
    card = SimulatedCard(load, sensor or CardSensor(noise=0.01), lambda: 0.0, origin_s=-5.0)
    recorder = Recorder(None, None)
    recorder.readings = card.read_at([-2.0 + 0.05 * i for i in range(460)])
    watch = Watch(None)
    watch.looks = list(looks)
    write_parquet(folder / "telemetry.parquet", "telemetry", with_looks(recorder.table(0.0), watch.table(0.0)))
    if body is not None:
        write_json(folder / "measurement.json", "measurement", body)
    return folder / "telemetry.parquet"


def test_a_sound_record_is_valid_and_a_record_at_idle_is_quarantined(tmp_path, capsys):
    file = recorded(tmp_path, body={"window_s": 20.0, "idle_w": 100.0, "requests": 100, "failed": 0})
    assert command(["doctor", "--telemetry", str(file)]) == 0
    assert "20.0 s window: valid" in capsys.readouterr().out
    idle = recorded(tmp_path, load=loads.constant(101.0))
    assert command(["doctor", "--telemetry", str(idle)]) == 4
    out, err = capsys.readouterr()
    assert "busy_at_idle" in out
    assert "busy_at_idle" in err


def test_what_is_given_goes_before_what_lies_beside_the_record(tmp_path):
    file = recorded(tmp_path, body={"window_s": 20.0, "idle_w": 100.0})
    lines = check_telemetry(file, idle_w=240.0)
    assert lines[1].detail.startswith("busy_near_idle")
    assert check_telemetry(file, limit_w=200.0)[1].detail.startswith("above_limit")


def test_failures_beside_the_record_and_throttling_within_it_are_found(tmp_path):
    looks = [Health(0.5 * i, "card 0", 1.9e9, 90.0, frozenset({Throttle.THERMAL})) for i in range(38)]
    file = recorded(tmp_path, looks=looks, body={"window_s": 20.0, "requests": 100, "failed": 7})
    codes = [line.detail.partition(":")[0] for line in check_telemetry(file)[1:]]
    assert codes == ["failed_requests", "thermal_throttle"]


def test_a_record_without_a_sensor_is_not_zero_joules(tmp_path):
    recorder = Recorder(None, None)
    recorder.readings = [Reading(0.0, "proc", Boundary.GPU, (Channel("pid 1"),), Origin.MEASURED)]
    write_parquet(tmp_path / "t.parquet", "telemetry", recorder.table(0.0))
    with pytest.raises(FileFormatError, match="found no reading of a sensor"):
        check_telemetry(tmp_path / "t.parquet")
    with pytest.raises(InputError, match="no such file"):
        telemetry_scene(tmp_path / "none.parquet")


def test_the_watch_looks_while_something_runs_and_only_then():
    looked = []

    def look():
        looked.append(1)
        return [Health(0.0, "GPU-0")]

    with Watch(look, period_s=0.01) as watch:
        time.sleep(0.1)
    count = len(looked)
    assert count >= 2
    assert len(watch.looks) == count
    time.sleep(0.05)
    assert len(looked) == count
