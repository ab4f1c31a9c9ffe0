"""A DCGM exporter read over HTTP: units, identity, its true refresh, its lag in the interval, and its freezing."""

from __future__ import annotations

import random
import time

import pytest
from measure_fake_exporter import UUID, Exporter, answering, exporting, page, stepped
from measure_fake_nvml import FakeNvml
from measure_fake_server import serving

from wattlane.cli.app import run as command
from wattlane.core.errors import InputError, MeasurementError, UnknownNameError
from wattlane.core.files import read_json, read_parquet
from wattlane.measure import run, trial, working
from wattlane.measure.account import metered
from wattlane.measure.exposition import samples
from wattlane.measure.meters.dcgm import DcgmMeter, find, read_page
from wattlane.measure.meters.replay import readings_of
from wattlane.measure.readings import Channel, take
from wattlane.measure.recorder import Recorder
from wattlane.measure.refresh import Refresh
from wattlane.measure.selftest import self_test
from wattlane.measure.sources import open_for_engine, open_source
from wattlane.measure.validity.codes import Code
from wattlane.measure.validity.judge import examine
from wattlane.measure.validity.scene import Activity, Scene, to_series

OTHER = "GPU-11111111-2222-3333-4444-555555555555"


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def scraped(
    exporter: Exporter, clock: Clock, seconds: float, poll_s: float = 0.05, jitter: random.Random | None = None
):
    """Poll an exporter in made-up time; return (meter, readings)."""
    meter = DcgmMeter("x", clock=clock, fetch=lambda _url: exporter.text().encode())
    readings, end_s = [meter.read()], clock() + seconds
    while clock() < end_s:
        clock.sleep(poll_s if jitter is None else poll_s * jitter.uniform(0.6, 1.4))
        take(meter, readings)
    return meter, readings


def test_a_page_gives_joules_and_watts_by_uuid_and_blanks_are_absent():
    row = read_page(page({UUID: (1234.5, 300.25)}))[UUID]
    assert row.channel == Channel(UUID, energy_j=pytest.approx(1234.5), average_power_w=300.25)
    assert (row.index, row.name, row.is_mig) == ("0", "NVIDIA H100 80GB HBM3", False)
    blank = page({UUID: (1.0, 300.0)}).replace("1000\n", "9223372036854775794\n")
    assert read_page(blank)[UUID].energy_j is None
    assert read_page(blank)[UUID].value("DCGM_FI_DEV_POWER_USAGE") == 300.0
    lower = (
        page({UUID: (1.0, 2.0)}).replace("UUID=", "uuid=") + f'DCGM_FI_DEV_POWER_USAGE_INSTANT{{uuid="{UUID}"}} 3.5\n'
    )
    assert read_page(lower)[UUID].channel.power_w == 3.5
    assert read_page('DCGM_FI_DEV_POWER_USAGE{gpu="0"} 5\n') == {}  # no identity, no channel


def test_labels_may_hold_braces_quotes_and_a_time_may_follow_the_value():
    text = 'a{pod="x\\"}y",b="c\\\\d\\ne"} 1.5 1700000000500\nb 2\nc{} nonsense\nd NaN\n'
    first, second, last = samples(text)
    assert first.labels == {"pod": 'x"}y', "b": "c\\d\ne"}
    assert (first.value, first.unix_s) == (1.5, 1700000000.5)
    assert (second.name, second.value, second.unix_s) == ("b", 2.0, None)
    assert last.value != last.value


def test_rows_of_mig_instances_are_one_board_that_is_said_to_be_split():
    split = "".join(page({UUID: (50.0, 99.0)}, f',GPU_I_PROFILE="1g.10gb",GPU_I_ID="{i}"') for i in (3, 5))
    clock = Clock()
    meter = DcgmMeter("x", clock=clock, fetch=lambda _url: split.encode())
    assert len(meter.read().channels) == 1
    assert meter.read().energy_j == pytest.approx(50.0)
    assert meter.facts(UUID).is_mig
    (found,) = self_test(meter, 1.0, facts={UUID: meter.facts(UUID)}, clock=clock, sleep=clock.sleep)
    assert found.reasons[0].code is Code.MIG_REPEATS


@pytest.mark.parametrize("refresh_s", [0.25, 1.0, 7.0, 30.0])
def test_the_true_refresh_is_found_whatever_the_rhythm_of_scrapes(refresh_s):
    clock = Clock()
    energy_j, power_w = stepped(90.0, 400.0, 20.0)
    meter, readings = scraped(Exporter(energy_j, power_w, refresh_s, clock=clock), clock, 5 * refresh_s)
    assert meter.refresh.period_s == pytest.approx(refresh_s, abs=0.11)
    assert readings[-1].lag_s == meter.refresh.period_s
    assert not meter.refresh.is_stale
    assert len(readings) <= 5 * refresh_s / 0.1 + 2  # never more often than ten times a second


def test_before_anything_changed_the_lag_is_the_time_since_the_first_look():
    clock = Clock()
    energy_j, power_w = stepped(90.0, 400.0, 20.0)
    _, readings = scraped(Exporter(energy_j, power_w, 30.0, clock=clock), clock, 10.0)
    assert readings[-1].lag_s == pytest.approx(10.0, abs=0.2)


def test_a_short_window_on_an_exporter_of_30_s_is_invalid_and_not_a_number():
    clock = Clock()
    energy_j, power_w = stepped(90.0, 400.0, 45.0)
    _, readings = scraped(Exporter(energy_j, power_w, 30.0, clock=clock), clock, 125.0)
    start_s = readings[0].time_s + 47.0
    verdict = examine(Scene(to_series(readings), Activity(start_s, start_s + 10.0)))
    assert verdict.quarantined
    assert verdict.codes[0] is Code.STALE_SOURCE
    assert "renewed about every 30 s" in verdict.reasons[0].detail
    long = examine(Scene(to_series(readings), Activity(readings[0].time_s + 1.0, readings[0].time_s + 124.0)))
    assert Code.STALE_SOURCE in long.codes  # 4 refreshes are too few as well


def test_a_frozen_exporter_is_stale_and_its_readings_say_how_old_they_are():
    clock = Clock()
    energy_j, power_w = stepped(90.0, 400.0, 3.0)
    meter, readings = scraped(Exporter(energy_j, power_w, 0.5, freeze_s=12.0, clock=clock), clock, 25.0)
    assert meter.refresh.is_stale
    assert readings[-1].lag_s == pytest.approx(13.0, abs=0.6)
    start_s = readings[0].time_s
    assert examine(Scene(to_series(readings), Activity(start_s + 4.0, start_s + 11.5))).codes == ()
    frozen = examine(Scene(to_series(readings), Activity(start_s + 4.0, start_s + 24.0)))
    assert frozen.codes[0] is Code.STALE_SOURCE
    assert "said nothing new for 1" in frozen.reasons[0].detail
    energy = metered(readings, start_s + 4.0, start_s + 24.0)
    assert energy.energy_j_lo <= 400.0 * 20.0 <= energy.energy_j_hi


def test_a_source_that_stamps_its_values_is_fresh_although_they_stay_the_same():
    stamped = Refresh()
    for i in range(40):
        stamped.see(i * 0.5, [1_700_000_000.0 + i // 4 * 2.0])
    assert stamped.period_s == pytest.approx(2.0)
    assert not stamped.is_stale


def test_the_interval_holds_the_truth_whatever_the_exporters_lag():
    """80 windows over a step of 500 W: lags from none to a whole refresh; without the lag part few would hold it."""
    draw, held, held_without = random.Random(7), 0, 0
    for _ in range(80):
        clock = Clock()
        refresh_s = draw.uniform(0.3, 1.5)
        energy_j, power_w = stepped(100.0, 600.0, 10.0, 30.0)
        exporter = Exporter(energy_j, power_w, refresh_s, draw.uniform(0, refresh_s), clock=clock)
        _, readings = scraped(exporter, clock, 24.0, 0.1, draw)
        start_s, end_s = draw.uniform(5.0, 9.5), draw.uniform(14.0, 20.0)
        truth_j = energy_j(end_s) - energy_j(start_s)
        energy = metered(readings, exporter.start_s + start_s, exporter.start_s + end_s)
        assert energy.status.value == "measured"
        assert energy.error_parts["lag_j"] > 0
        held += energy.energy_j_lo <= truth_j <= energy.energy_j_hi
        without_j = energy.budget.half - energy.error_parts["lag_j"]
        held_without += abs(energy.energy_j - truth_j) <= without_j
    assert held >= 78
    assert held_without < held


def test_a_live_exporter_on_loopback_is_metered_through_its_lag():
    energy_j, power_w = stepped(100.0, 400.0, 0.4, 100.0)
    exporter = Exporter(energy_j, power_w, refresh_s=0.12, lag_s=0.06)
    with exporting(exporter) as url:
        meter = open_for_engine(f"dcgm={url}/metrics")
        with Recorder(meter, None) as recorder:
            time.sleep(0.6)
            start_s = recorder.mark()
            time.sleep(0.5)
            end_s = recorder.mark()
    assert recorder.readings[-1].time_s > end_s + 0.18  # read until the end had come through
    truth_j = energy_j(end_s - exporter.start_s) - energy_j(start_s - exporter.start_s)
    energy = metered(recorder.readings, start_s, end_s)
    assert (energy.source, energy.boundary.value) == ("dcgm counter", "gpu")
    assert energy.energy_j_lo <= truth_j <= energy.energy_j_hi
    # scraped ten times a second, and later where the machine has other work; never as slow as the default of 30 s
    assert 0.09 <= meter.refresh.period_s <= 0.6
    again = readings_of(recorder.table(0.0))
    assert metered(again, start_s, end_s) == energy  # record and replay


def test_an_exporter_that_goes_away_leaves_readings_without_values():
    exporter = Exporter(*stepped(100.0, 400.0, 1.0))
    with exporting(exporter) as url:
        meter = DcgmMeter(f"{url}/metrics")
        assert meter.read().energy_j is not None
    time.sleep(0.11)
    assert meter.read().channels == (Channel(UUID),)


def test_beside_an_exporter_nvml_tells_which_card_works_where_it_is_in_reach(monkeypatch):
    meter = DcgmMeter("x", fetch=lambda _url: page({"GPU-1": (1.0, 2.0)}).encode())
    monkeypatch.setattr(working, "connect", lambda: FakeNvml(busy=(0,)))
    monkeypatch.setattr(working, "process_tree", lambda _pid: {42})
    assert working.working_cards(meter, 42) == ("GPU-0",)

    def out_of_reach():
        raise MeasurementError("no driver")

    monkeypatch.setattr(working, "connect", out_of_reach)
    assert working.working_cards(meter, 42) is None


def test_what_is_not_an_exporter_is_refused_with_what_was_found():
    with answering({"/metrics": lambda: (200, "vllm:num_requests_running 3\n"), "/down": lambda: (500, "")}) as url:
        with pytest.raises(
            MeasurementError, match=r"holds no DCGM_FI_DEV_POWER_USAGE.*begins with vllm:num_requests_r"
        ):
            DcgmMeter(f"{url}/metrics")
        with pytest.raises(MeasurementError, match=r"no exporter answers at .*/down"):
            DcgmMeter(f"{url}/down")
        assert find(f"{url}/metrics")[0].status == "absent"
    with pytest.raises(MeasurementError, match="no exporter answers"):
        open_source(f"dcgm={url}/metrics")


def test_boards_are_named_by_uuid_or_number_and_several_must_be_named_for_an_engine():
    exporter = Exporter(*stepped(100.0, 400.0, 1.0), uuids=(UUID, OTHER))
    with exporting(exporter) as url:
        assert open_source(f"dcgm={url}/metrics").uuids == (UUID, OTHER)
        assert open_for_engine(f"dcgm={url}/metrics,gpu=1").uuids == (OTHER,)
        assert open_for_engine(f"dcgm={url}/metrics,gpu={OTHER}+0").uuids == (OTHER, UUID)
        with pytest.raises(InputError, match=rf"lists no GPU 7; it lists 0 {UUID}, 1 {OTHER}"):
            open_source(f"dcgm={url}/metrics,gpu=7")
        with pytest.raises(InputError, match=rf"lists 2 devices \({UUID}, {OTHER}\); name those"):
            open_for_engine(f"dcgm={url}/metrics")
        assert [line.status for line in find(f"{url}/metrics")] == ["limited", "limited"]


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("dcgn=http://x", UnknownNameError, "unknown meter 'dcgn'; did you mean 'dcgm'"),
        ("dcgm=host:9400", InputError, "expected an address, as dcgm=http://HOST:PORT"),
        ("dcgm=http://x,board=1", InputError, r"found 'board=1'; expected gpu=UUID\+UUID"),
        ("trtllm=", InputError, "expected an address, as trtllm=http"),
        ("rapl=package-0", InputError, "expected rapl alone"),
        ("soc=1", InputError, "expected soc alone"),
    ],
)
def test_a_wrong_name_of_a_source_says_what_was_expected(text, error, words):
    with pytest.raises(error, match=words):
        open_source(text)


def test_the_doctor_tests_a_live_exporter_and_names_the_best_source(capsys):
    exporter = Exporter(*stepped(100.0, 400.0, 0.3), refresh_s=0.1)
    with exporting(exporter) as url:
        assert command(["doctor", "--meter", f"dcgm={url}/metrics", "--self-test", "0.9"]) == 0
    out = capsys.readouterr().out
    assert f"self-test: dcgm {UUID}: " in out
    assert f"ok       best source: dcgm {UUID}: energy counter" in out
    slow = Exporter(*stepped(100.0, 400.0, 0.3), refresh_s=30.0)
    with exporting(slow) as url:
        assert command(["doctor", "--meter", f"dcgm={url}/metrics", "--self-test", "0.6"]) == 4
    out, err = capsys.readouterr()
    assert "stale_source" in out
    assert "best source: none" in out
    assert UUID in err


def test_measure_takes_its_energy_from_a_named_exporter(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "IDLE_WINDOW_S", 0.6)
    exporter = Exporter(*stepped(100.0, 400.0, 0.0), refresh_s=0.1)
    with exporting(exporter) as url, serving("llamacpp", pause_s=0.03) as server:
        result = run(server.base_url, "burst:n=4,input=6,output=10", tmp_path, meter=f"dcgm={url}/metrics")
    body = read_json(tmp_path / "measurement.json", "measurement")
    assert body["energy"]["source"] == "dcgm counter"
    assert body["energy"]["energy_j_lo"] <= 400.0 * result.window_s <= body["energy"]["energy_j_hi"]
    assert any(reason.startswith("energy_source: the source that was named, dcgm=") for reason in body["reasons"])
    table = read_parquet(tmp_path / "telemetry.parquet", "telemetry", ["lag_s"])
    assert table["lag_s"].max() > 0
