"""What was recorded can be read again and gives the same energy."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace

import polars as pl
import pytest

from wattlane.core.errors import InputError
from wattlane.core.files import read_parquet, write_parquet
from wattlane.core.types import Boundary, Origin
from wattlane.measure.account import metered
from wattlane.measure.meters.card import CardSensor, SimulatedCard
from wattlane.measure.meters.loads import constant
from wattlane.measure.meters.replay import ReplayMeter, readings_of
from wattlane.measure.readings import Reading
from wattlane.measure.recorder import Recorder
from wattlane.measure.validity.scene import Health
from wattlane.measure.watch import Watch, with_looks


def two_cards():
    cards = [SimulatedCard(constant(w), CardSensor(tick_s=0.05), device=f"card {w:g}") for w in (100.0, 250.0)]

    def read():
        first, second = (card.read() for card in cards)
        return Reading(first.time_s, "simulated", Boundary.GPU, first.channels + second.channels, Origin.MODELLED)

    return SimpleNamespace(read=read)


def test_a_recorded_run_gives_the_same_energy_when_read_again(tmp_path):
    recorder = Recorder(two_cards(), os.getpid())
    with recorder:
        start_s = recorder.mark()
        time.sleep(0.3)
        end_s = recorder.mark()
    write_parquet(tmp_path / "telemetry.parquet", "telemetry", recorder.table(start_s))
    again = readings_of(read_parquet(tmp_path / "telemetry.parquet", "telemetry", ["time_s"]))
    assert len(again) == len(recorder.readings)
    assert [channel.device for channel in again[0].channels] == ["card 100", "card 250"]
    first, second = metered(recorder.readings, start_s, end_s), metered(again, 0.0, end_s - start_s)
    assert second.energy_j == pytest.approx(first.energy_j, rel=1e-6)
    assert second.error_parts == pytest.approx(first.error_parts, rel=1e-3)
    assert second.energy_j == pytest.approx(350 * (end_s - start_s), rel=0.1)
    assert ReplayMeter(again).read() == again[0]


def test_telemetry_without_a_meter_cannot_be_replayed():
    table = pl.DataFrame({"time_s": [0.0], "source": ["proc"]})
    with pytest.raises(InputError, match="no reading of a meter"):
        readings_of(table)


def test_looks_at_clocks_and_temperature_stand_beside_the_readings_and_are_not_readings():
    recorder = Recorder(None, None)
    recorder.readings = [two_cards().read()]
    watch = Watch(None)
    watch.looks = [Health(recorder.readings[0].time_s, "card 100", 1.9e9, 60.0)]
    (again,) = readings_of(with_looks(recorder.table(0.0), watch.table(0.0)))
    assert again == recorder.readings[0]
