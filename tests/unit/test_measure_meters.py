from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from measure_fake_nvml import FakeNvml

from wattlane.core.errors import InputError, MeasurementError
from wattlane.core.types import Boundary, Origin
from wattlane.measure.engines.base import Habits
from wattlane.measure.meters import nvml, rapl
from wattlane.measure.meters.cpu import cpu_seconds, cpu_tick_s
from wattlane.measure.meters.replay import ReplayMeter
from wattlane.measure.meters.simulated import SimulatedMeter
from wattlane.measure.pick import pick_meter
from wattlane.measure.readings import Channel, Reading

RANGE_UJ = 1_000_000


def zone(root: Path, folder: str, name: str, energy_uj: int | None) -> Path:
    path = root / folder
    path.mkdir(parents=True)
    (path / "name").write_text(name + "\n")
    (path / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    if energy_uj is not None:
        (path / "energy_uj").write_text(f"{energy_uj}\n")
    return path


def test_rapl_sums_packages_and_dram_and_leaves_out_what_overlaps(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 100_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 70_000)
    zone(tmp_path, "intel-rapl:0:1", "dram", 30_000)
    zone(tmp_path, "intel-rapl:1", "psys", 999_000)
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 100_000)
    reading = rapl.RaplMeter(tmp_path).read()
    assert [channel.device for channel in reading.channels] == ["0 package-0", "0:1 dram"]
    assert reading.energy_j == pytest.approx(0.13)
    assert reading.boundary is Boundary.CPU_PACKAGE
    assert reading.power_w is None


def test_w1_rapl_counter_is_unwrapped_each_time_it_wraps(tmp_path):
    path = zone(tmp_path, "intel-rapl:0", "package-0", 900_000)
    meter = rapl.RaplMeter(tmp_path)
    seen = []
    for energy_uj in (900_000, 100_000, 800_000, 50_000):
        (path / "energy_uj").write_text(f"{energy_uj}\n")
        seen.append(meter.read().energy_j)
    assert seen == pytest.approx([0.9, 1.1, 1.8, 2.05])


def test_rapl_zone_that_fails_mid_run_reads_as_missing_not_zero(tmp_path):
    path = zone(tmp_path, "intel-rapl:0", "package-0", 5)
    meter = rapl.RaplMeter(tmp_path)
    (path / "energy_uj").unlink()
    assert meter.read().energy_j is None


def test_rapl_without_permission_says_what_to_run(tmp_path, monkeypatch):
    zone(tmp_path, "intel-rapl:0", "package-0", 5)
    read = Path.read_text

    def refusing(self, *arguments, **options):
        if self.name == "energy_uj":
            raise PermissionError(13, "denied")
        return read(self, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", refusing)
    with pytest.raises(MeasurementError, match=r"permission denied[\s\S]*chmod"):
        rapl.RaplMeter(tmp_path)
    (finding,) = rapl.find(tmp_path)
    assert (finding.status, finding.detail) == ("limited", "permission denied")


def test_rapl_absent_or_broken_is_found_out(tmp_path):
    with pytest.raises(MeasurementError, match="found no RAPL zone"):
        rapl.RaplMeter(tmp_path)
    assert rapl.find(tmp_path)[0].status == "absent"
    zone(tmp_path, "intel-rapl:0", "package-0", None)
    assert "unreadable" in rapl.find(tmp_path)[0].detail
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("7")
    assert rapl.find(tmp_path)[0].status == "ok"


def test_nvml_reads_joules_and_watts_of_the_named_gpus_only():
    meter = nvml.NvmlMeter(["GPU-1"], FakeNvml())
    (channel,) = meter.read().channels
    assert channel == Channel("GPU-1", energy_j=9.0, power_w=300.0, average_power_w=290.0)
    both = nvml.NvmlMeter(["GPU-0", "GPU-1"], FakeNvml()).read()
    assert (both.energy_j, both.power_w, both.boundary) == (14.0, 600.0, Boundary.GPU)


def test_nvml_is_asked_for_the_scope_of_the_gpu_and_says_when_it_tells_it_from_the_modules():
    library = FakeNvml()
    assert nvml.powers_w(library, 0) == (300.0, 290.0)
    assert nvml.powers_w(library, 0, nvml.MODULE_SCOPE) == (520.0, 510.0)
    assert nvml.NvmlMeter(["GPU-0"], library).facts("GPU-0").scope == "gpu"
    one_scope = FakeNvml()
    plain = one_scope.nvmlDeviceGetFieldValues
    one_scope.nvmlDeviceGetFieldValues = lambda handle, fields: plain(handle, [(field, 0) for field, _ in fields])
    assert nvml.NvmlMeter(["GPU-0"], one_scope).facts("GPU-0").scope == ""


def test_the_scopes_are_those_of_the_binding_and_it_takes_them_beside_the_field():
    import pynvml

    assert (nvml.GPU_SCOPE, nvml.MODULE_SCOPE) == (pynvml.NVML_POWER_SCOPE_GPU, pynvml.NVML_POWER_SCOPE_MODULE)
    asked = pynvml.c_nvmlFieldValue_t()
    asked.fieldId, asked.scopeId = pynvml.NVML_FI_DEV_POWER_INSTANT, nvml.MODULE_SCOPE
    assert (asked.fieldId, asked.scopeId) == (186, 1)


def test_nvml_refuses_a_gpu_it_does_not_list():
    with pytest.raises(MeasurementError, match=r"no GPU GPU-7; it lists GPU-0, GPU-1"):
        nvml.NvmlMeter(["GPU-7"], FakeNvml())


def test_nvml_without_a_counter_has_none_not_zero():
    meter = nvml.NvmlMeter(["GPU-0"], FakeNvml(counter=False))
    assert meter.read().energy_j is None
    assert [finding.status for finding in nvml.find(FakeNvml(counter=False))] == ["limited"] * 2


def test_nvml_diagnosis_names_the_driver_the_cards_and_mig():
    assert nvml.find(FakeNvml(driver=False))[0].status == "absent"
    plain, split = nvml.find(FakeNvml(mig=(1,)))
    assert (plain.status, split.status) == ("ok", "limited")
    assert "whole board" in split.detail


def test_the_picked_meter_sees_the_device_that_works(tmp_path):
    def no_rapl():
        return rapl.RaplMeter(tmp_path)

    def pick(library, runs_on_gpu=None, is_local=True):
        return pick_meter(Habits(runs_on_gpu=runs_on_gpu, is_local=is_local), library, no_rapl)

    assert [c.device for c in pick(FakeNvml(busy=(1,))).meter.read().channels] == ["GPU-1"]
    assert "compute process" in pick(FakeNvml()).reason
    assert "MIG" in pick(FakeNvml(busy=(1,), mig=(1,))).reason
    assert "another host" in pick(FakeNvml(busy=(1,)), is_local=False).reason
    on_cpu = pick(FakeNvml(busy=(1,)), runs_on_gpu=False)
    assert on_cpu.meter is None
    assert "no RAPL zone" in on_cpu.reason
    neither = pick(FakeNvml(driver=False))
    assert "Driver Not Loaded" in neither.reason
    assert "no RAPL zone" in neither.reason
    zone(tmp_path, "intel-rapl:0", "package-0", 5)
    assert pick(FakeNvml(driver=False)).meter.read().source == "rapl"


def test_gpus_that_others_compute_on_are_not_metered_where_the_engine_s_own_is_known():
    """A shared node: process 1 works on GPU-0, which is split with MIG, and the engine on GPU-1."""
    shared = FakeNvml(mig=(0,))
    shared.nvmlDeviceGetComputeRunningProcesses = lambda handle: [SimpleNamespace(pid=(1, os.getpid())[handle])]
    own = pick_meter(Habits(), shared, pid=os.getpid())
    assert own.meter.uuids == ("GPU-1",)
    assert own.reason.startswith("the GPU that the engine computes on: ")
    assert "split with MIG" in pick_meter(Habits(), shared).reason
    # a container may hide whose processes they are: then every busy card counts, and the checks have the last word
    hidden = FakeNvml(busy=(0, 1))
    assert pick_meter(Habits(), hidden, pid=os.getpid()).meter.uuids == ("GPU-0", "GPU-1")


def test_simulated_counter_shows_the_true_energy_at_its_last_tick():
    now_s = [100.0]
    meter = SimulatedMeter.constant(50.0, tick_s=0.1, clock=lambda: now_s[0])
    now_s[0] = 101.27
    reading = meter.read()
    assert reading.energy_j == pytest.approx(60.0)
    assert reading.power_w == 50.0
    assert reading.origin is Origin.MODELLED


def test_replay_gives_back_what_was_recorded_in_order():
    readings = [Reading(t, "nvml", Boundary.GPU, (Channel("GPU-0", energy_j=t * 10),)) for t in (1.0, 2.0)]
    meter = ReplayMeter(readings)
    assert [meter.read(), meter.read(), meter.read()] == [readings[0], readings[1], readings[1]]
    with pytest.raises(InputError, match="back in time"):
        ReplayMeter(readings[::-1])
    with pytest.raises(InputError, match="no readings"):
        ReplayMeter([])


def test_a_missing_channel_makes_the_sum_missing():
    both = (Channel("a", energy_j=1.0, power_w=2.0), Channel("b", energy_j=None, average_power_w=3.0))
    reading = Reading(0.0, "x", Boundary.GPU, both)
    assert reading.energy_j is None
    assert reading.power_w == 5.0
    assert Reading(0.0, "x", Boundary.GPU, ()).power_w is None


def test_cpu_seconds_count_a_busy_process_and_its_children():
    work = "import time\nt=time.process_time()\nwhile time.process_time()-t<0.3: pass\n"
    start = f"p=subprocess.Popen([sys.executable,'-c',{work!r}+'time.sleep(99)'])"
    parent = f"import subprocess,sys,time\n{start}\ntime.sleep(99)"
    with subprocess.Popen([sys.executable, "-c", parent]) as process:
        deadline_s = time.monotonic() + 60  # a machine with much other work gives it little
        used_s = 0.0
        while used_s < 0.3 and time.monotonic() < deadline_s:
            time.sleep(0.05)
            used_s = cpu_seconds(process.pid) or 0.0
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
        for child in children:
            os.kill(int(child), 9)
    assert used_s >= 0.3
    assert cpu_seconds(process.pid) is None


def test_cpu_seconds_read_past_a_command_name_with_spaces_and_brackets(tmp_path):
    folder = tmp_path / "7"
    folder.mkdir()
    numbers = " ".join(["0"] * 10 + ["100", "20", "3", "4"] + ["0"] * 30)
    (folder / "stat").write_text(f"7 (a ) b (c) S {numbers}\n")
    assert cpu_seconds(7, tmp_path) == pytest.approx(127 * cpu_tick_s())
    (folder / "stat").write_text(f"7 (dead) Z {numbers}\n")
    assert cpu_seconds(7, tmp_path) is None
