"""Windows in one's own code: energy of the stretch, overlap, alignment, decorators, and no GPU."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from wattlane.core.errors import MeasurementError
from wattlane.core.types import Origin
from wattlane.measure import live
from wattlane.measure.account import ABSENT
from wattlane.measure.live import Telemetry, window
from wattlane.measure.meters.card import CardSensor, SimulatedCard
from wattlane.measure.meters.cpu import cpu_seconds
from wattlane.measure.meters.loads import constant
from wattlane.measure.poller import Poller
from wattlane.measure.recorder import CpuReading, Recorder
from wattlane.measure.schedule import DENSE_PERIOD_S, DENSE_S, PERIOD_S, poll_times


@pytest.fixture
def telemetry():
    made = Telemetry(SimulatedCard(constant(200.0), CardSensor(tick_s=0.05, tick_phase_s=0.01)))
    yield made
    made.close()


def test_a_window_has_the_energy_of_its_stretch(telemetry):
    with window("work", telemetry=telemetry) as seen:
        time.sleep(0.4)
    energy = seen.energy
    assert energy.energy_j_lo <= 200 * seen.duration_s <= energy.energy_j_hi
    assert energy.energy_j == pytest.approx(200 * seen.duration_s, rel=0.05)
    assert (energy.source, energy.status) == ("simulated counter", Origin.MODELLED)


def test_windows_overlap_and_nest(telemetry):
    outer, inner = telemetry.window("outer"), telemetry.window("inner")
    with outer:
        time.sleep(0.15)
        inner.__enter__()
        time.sleep(0.2)
    time.sleep(0.1)
    inner.__exit__()
    for each in (outer, inner):
        assert each.energy.energy_j == pytest.approx(200 * each.duration_s, rel=0.06)
    assert outer.start_s < inner.start_s < outer.end_s < inner.end_s


def test_an_aligned_window_waits_for_the_counter_and_has_no_edges_part(telemetry):
    with window("work", telemetry=telemetry, align=True) as seen:
        time.sleep(0.2)
    assert seen.energy.error_parts["edges_j"] == 0
    assert seen.energy.error_parts["tick_j"] < 0.03 * seen.energy.energy_j
    ticks = seen.energy.energy_j / (200 * 0.05)
    assert ticks == pytest.approx(round(ticks), abs=0.01)


def test_entering_and_leaving_cost_microseconds_however_slow_the_meter_is():
    card = SimulatedCard(constant(200.0), CardSensor())

    def slow():
        time.sleep(0.02)
        return card.read()

    telemetry = Telemetry(SimpleNamespace(read=slow))
    with telemetry.window():
        pass
    costs = []
    for _ in range(40):
        seen = telemetry.window()
        before = time.perf_counter()
        with seen:
            pass
        costs.append((time.perf_counter() - before) / 2)
        time.sleep(0.002)
    telemetry.close()
    # other work of the machine only ever adds, so the quicker quarter tells; a read of the meter takes 20 ms
    assert sorted(costs)[len(costs) // 4] < 50e-6


def test_a_decorator_opens_a_window_for_each_call(telemetry):
    @window("step", telemetry=telemetry)
    def step(seconds):
        """Say how long."""
        time.sleep(seconds)
        return seconds

    assert [step(0.1), step(0.2)] == [0.1, 0.2]
    assert step.__doc__ == "Say how long."
    assert [w.name for w in step.windows] == ["step", "step"]
    for seen, seconds in zip(step.windows, (0.1, 0.2), strict=True):
        assert seen.duration_s >= seconds
        assert seen.energy.energy_j_lo <= 200 * seen.duration_s <= seen.energy.energy_j_hi


def test_a_decorated_coroutine_is_metered_until_it_ends(telemetry):
    @window(telemetry=telemetry)
    async def step():
        await asyncio.sleep(0.2)

    asyncio.run(step())
    assert step.windows[0].duration_s >= 0.2
    assert step.windows[0].name.endswith("step")


@pytest.fixture
def no_gpu(monkeypatch):
    def absent():
        raise MeasurementError("NVML does not answer")

    monkeypatch.setattr(live, "own_gpu", absent)


def test_without_a_gpu_a_window_raises_or_is_absent_by_request(no_gpu):
    with pytest.raises(MeasurementError, match="does not answer"):
        window("prefill")
    with window("prefill", absent="absent") as seen:
        pass
    assert seen.energy == ABSENT
    assert seen.energy.energy_j is None
    assert seen.duration_s >= 0


def test_an_open_or_reused_window_is_refused(telemetry):
    with window(telemetry=telemetry) as seen, pytest.raises(MeasurementError, match="not closed yet"):
        _ = seen.energy
    with pytest.raises(MeasurementError, match="entered before"):
        seen.__enter__()


def test_the_gpu_of_this_process_is_metered_and_a_choice_among_others_refused(monkeypatch):
    from wattlane.measure.meters import nvml

    def card(uuid, *pids):
        return SimpleNamespace(uuid=uuid, busy_pids=pids)

    monkeypatch.setattr(nvml, "connect", lambda library=None: None)
    monkeypatch.setattr(nvml, "cards", lambda library: [card("GPU-a", 1), card("GPU-b", 2)])
    with pytest.raises(MeasurementError, match="GPU-a, GPU-b"):
        live.own_gpu.__wrapped__()
    monkeypatch.setattr("os.getpid", lambda: 2)
    monkeypatch.setattr(nvml, "NvmlMeter", lambda uuids, library: SimpleNamespace(uuids=uuids))
    assert live.own_gpu.__wrapped__().meter.uuids == ["GPU-b"]


def test_the_telemetry_sleeps_when_no_window_is_open(telemetry, monkeypatch):
    monkeypatch.setattr(live, "LINGER_S", 0.1)
    with telemetry.window() as seen:
        pass
    assert seen.energy.energy_j is not None
    used_s, until_s = -1.0, time.monotonic() + 5.0
    while telemetry.cpu_s != used_s and time.monotonic() < until_s:  # polling goes on a little for the next edge
        used_s = telemetry.cpu_s
        time.sleep(0.2)
    time.sleep(0.2)
    assert telemetry.cpu_s == used_s


def polled_around_an_edge():
    """Return the polls before an edge, and those of the dense time after it, seconds since it."""
    times = []
    poller = Poller(lambda: times.append(time.monotonic()))
    poller.start()
    time.sleep(0.3)
    edge_s = poller.edge()
    time.sleep(0.5)
    poller.stop()
    return [t - edge_s for t in times if t < edge_s], [t - edge_s for t in times if edge_s <= t <= edge_s + DENSE_S]


def test_polls_are_dense_after_an_edge_and_sparse_elsewhere():
    """A busy machine only ever delays polls: the most of three tries counts. At the sparse rate it would be 5."""
    tries = [polled_around_an_edge()]
    while len(tries) < 3 and (len(tries[-1][1]) < 10 or tries[-1][1][0] >= PERIOD_S):
        tries.append(polled_around_an_edge())
    assert all(len(before) <= 8 and len(after) <= DENSE_S / DENSE_PERIOD_S + 1 for before, after in tries)
    after = max((after for _, after in tries), key=len)
    assert len(after) >= 10
    assert after[0] < PERIOD_S


def test_the_schedule_of_the_simulation_is_that_of_the_thread():
    times = poll_times(0.0, 10.0, (4.0,), seed=1)
    dense = times[(times >= 4.0) & (times < 4.1)]
    assert len(dense) >= 12
    assert len(times[(times > 6) & (times < 7)]) == 20


def test_a_recorder_keeps_polling_until_the_tick_after_the_last_mark():
    recorder = Recorder(SimulatedCard(constant(100.0), CardSensor(tick_s=0.1)), None)
    with recorder:
        start_s = recorder.mark()
        time.sleep(0.3)
        end_s = recorder.mark()
    times = [reading.time_s for reading in recorder.readings]
    assert times[0] <= start_s
    assert times[-1] >= end_s + 0.2
    assert recorder.cpu_used_s(start_s, end_s) is None


def test_cpu_seconds_are_interpolated_at_the_edges_and_end_with_the_process():
    recorder = Recorder(None, 1)
    recorder.cpu = [CpuReading(0.05 * i, 0.02 * i if i < 20 else None) for i in range(40)]
    assert recorder.cpu_used_s(0.125, 0.525) == pytest.approx(0.16)
    assert recorder.cpu_used_s(0.5, 1.5) == pytest.approx(0.38 - 0.2)
    assert recorder.cpu_used_s(1.5, 1.9) is None


def test_cpu_seconds_of_a_busy_process_are_counted():
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        recorder = Recorder(None, busy.pid)
        with recorder:
            start_s, before_s = recorder.mark(), cpu_seconds(busy.pid)
            time.sleep(0.4)
            after_s, end_s = cpu_seconds(busy.pid), recorder.mark()
    finally:
        busy.kill()
        busy.wait()
    assert before_s is not None
    assert after_s is not None
    assert recorder.cpu_used_s(start_s, end_s) == pytest.approx(after_s - before_s, abs=0.06)


def test_sparse_readings_do_not_hide_cpu_seconds():
    recorder = Recorder(None, None)
    recorder.cpu.extend([CpuReading(0.0, 5.0), CpuReading(2.0, 6.0)])  # a starved poller
    assert recorder.cpu_used_s(0.5, 1.5) == pytest.approx(0.5)
