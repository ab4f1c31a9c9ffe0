"""AMD, Apple and Jetson through zeus: units at the edge, absent where refused, fakes held to the real package."""

from __future__ import annotations

import importlib.util
import inspect
from dataclasses import dataclass, field

import pytest

from wattlane.core.errors import MeasurementError, MissingExtraError
from wattlane.core.types import Boundary
from wattlane.measure import pick
from wattlane.measure.engines.base import Habits
from wattlane.measure.meters import zeus_amd, zeus_soc
from wattlane.measure.meters.zeus_amd import AmdMeter
from wattlane.measure.meters.zeus_soc import SocMeter
from wattlane.measure.readings import Channel
from wattlane.measure.sources import open_source

HAS_ZEUS = importlib.util.find_spec("zeus") is not None


class Refused(Exception):
    """Stands for zeus' errors of a vendor."""


class FakeGpu:
    """One of zeus' GPUs: mW and mJ."""

    def __init__(self, gpu_index: int) -> None:
        self.gpu_index = gpu_index
        self.handle = f"handle {gpu_index}"


class FakeGpus:
    """zeus' AMDGPUs: HIP numbers 4 and 6; the second has a faulty counter and no average."""

    def __init__(self) -> None:
        self.gpus = [FakeGpu(4), FakeGpu(6)]

    def get_name(self, gpu_index: int) -> str:
        return "AMD Instinct MI300X"

    def get_power_management_limit(self, gpu_index: int) -> int:
        return 750_000

    def get_instant_power_usage(self, gpu_index: int) -> int:
        return [410_000, 95_000][gpu_index]

    def get_average_power_usage(self, gpu_index: int) -> int:
        if gpu_index == 1:
            raise Refused
        return 400_000

    def supports_get_total_energy_consumption(self, gpu_index: int) -> bool:
        return gpu_index == 0

    def get_total_energy_consumption(self, gpu_index: int) -> int:
        return 7_654_321


class FakeAmdsmi:
    """amdsmi, as far as zeus and the meter ask it."""

    class AmdSmiInitFlags:
        INIT_AMD_GPUS = 2

    class AmdSmiException(Exception):
        pass

    class AmdSmiLibraryException(AmdSmiException):
        pass

    def __init__(self) -> None:
        self.energy_counts = 0

    def amdsmi_init(self, flag):
        return None

    def amdsmi_shut_down(self):
        return None

    def amdsmi_get_processor_handles(self):
        return ["handle 0"]

    def amdsmi_get_gpu_enumeration_info(self, processor_handle):
        return {"hip_id": 0}

    def amdsmi_get_gpu_device_uuid(self, processor_handle):
        return f"uuid-of-{processor_handle.replace(' ', '-')}"

    def amdsmi_get_gpu_asic_info(self, processor_handle):
        return {"market_name": "AMD Instinct MI300X"}

    def amdsmi_get_power_info(self, processor_handle):
        return {"current_socket_power": 410, "average_socket_power": "N/A"}

    def amdsmi_get_power_cap_info(self, processor_handle):
        return {"power_cap": 750_000_000, "min_power_cap": 0, "max_power_cap": 750_000_000}

    def amdsmi_get_energy_count(self, processor_handle):
        self.energy_counts += 1
        # 15.3 uJ a count; 410 W over the half second that zeus waits between its two looks
        return {"energy_accumulator": 13_398_692 * self.energy_counts, "counter_resolution": 15.3}


def test_an_amd_gpu_gives_joules_and_watts_under_its_uuid():
    meter = AmdMeter(gpus=FakeGpus(), library=FakeAmdsmi())
    good, bad = meter.read().channels
    assert good == Channel("AMD-uuid-of-handle-4", energy_j=7654.321, power_w=410.0, average_power_w=400.0)
    assert bad == Channel("AMD-uuid-of-handle-6", energy_j=None, power_w=95.0, average_power_w=None)
    assert meter.read().energy_j is None  # one counter is missing, so the sum is
    assert meter.facts(good.device).limit_w == 750.0
    assert meter.read().boundary is Boundary.GPU


def test_amd_gpus_are_named_by_uuid_or_hip_number():
    assert AmdMeter(["6"], FakeGpus(), FakeAmdsmi()).uuids == ("AMD-uuid-of-handle-6",)
    assert AmdMeter(["AMD-uuid-of-handle-4"], FakeGpus(), FakeAmdsmi()).read().energy_j == 7654.321
    with pytest.raises(MeasurementError, match="no AMD GPU 0; it lists 4 AMD-uuid-of-handle-4, 6 AMD-uuid"):
        AmdMeter(["0"], FakeGpus(), FakeAmdsmi())
    assert AmdMeter(["4"], FakeGpus(), library=None).uuids == ("AMD-4",)  # a driver that gives no UUID


@dataclass
class AppleSilicon:
    """zeus' AppleSiliconMeasurement, mJ; this chip has no ane."""

    cpu_total_mj: int | None = 4_000
    performance_cores_mj: list[int] | None = field(default_factory=lambda: [1_500, 1_500])
    dram_mj: int | None = 500
    gpu_mj: int | None = 9_000
    gpu_sram_mj: int | None = 20
    ane_mj: int | None = None


@dataclass
class Jetson:
    """zeus' JetsonMeasurement, mJ."""

    cpu_energy_mj: float | None = 100.0
    gpu_energy_mj: float | None = 200.0
    total_energy_mj: float | None = 900.0


class Rail:
    def __init__(self, power_mw: float) -> None:
        self.power_mw = power_mw

    def measure_power(self) -> float:
        if self.power_mw < 0:
            raise OSError("sysfs")
        return self.power_mw


class FakeSoc:
    def __init__(self, said, rails=None) -> None:
        self.said = said
        if rails is not None:
            self.power_measurement = rails

    def get_total_energy_consumption(self):
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


def test_an_apple_chip_sums_parts_that_do_not_overlap():
    reading = SocMeter(FakeSoc(AppleSilicon())).read()
    assert [(c.device, c.energy_j) for c in reading.channels] == [
        ("cpu", 4.0), ("gpu", 9.0), ("gpu sram", 0.02), ("dram", 0.5),
    ]  # fmt: skip
    assert reading.energy_j == pytest.approx(13.52)
    assert reading.boundary is Boundary.GPU_AND_HOST


def test_a_jetson_is_its_whole_board_or_else_its_parts():
    rails = {"total_power_mw": Rail(5_500.0), "gpu_power_mw": Rail(2_000.0)}
    (board,) = SocMeter(FakeSoc(Jetson(), rails)).read().channels
    assert board == Channel("board", energy_j=0.9, power_w=5.5)
    assert SocMeter(FakeSoc(Jetson(), rails)).read().boundary is Boundary.WALL
    parts = SocMeter(FakeSoc(Jetson(total_energy_mj=None), {"gpu_power_mw": Rail(-1.0)})).read()
    assert [(c.device, c.energy_j, c.power_w) for c in parts.channels] == [("cpu", 0.1, None), ("gpu", 0.2, None)]
    assert parts.boundary is Boundary.GPU_AND_HOST


def test_a_chip_that_fails_later_has_no_value_and_one_that_meters_nothing_is_refused():
    soc = FakeSoc(Jetson())
    meter = SocMeter(soc)
    soc.said = TimeoutError("queue")
    assert meter.read().energy_j is None
    with pytest.raises(MeasurementError, match="holds no energy of a part that is known"):
        SocMeter(FakeSoc(Jetson(None, None, None)))


@pytest.mark.skipif(HAS_ZEUS, reason="zeus is installed here")
@pytest.mark.parametrize("name", ["amd", "soc"])
def test_without_zeus_one_sentence_says_how_to_install_it(name):
    with pytest.raises(
        MissingExtraError, match=r"zeus is not installed; install it with: pip install 'wattlane\[zeus\]'"
    ):
        open_source(name)
    assert {"amd": zeus_amd, "soc": zeus_soc}[name].find()[0].status == "absent"


def test_without_nvidia_the_only_amd_gpu_is_picked_and_several_must_be_named(monkeypatch):
    def no_nvml(_library):
        raise MeasurementError("no NVML")

    def no_rapl():
        raise MeasurementError("no RAPL")

    class One(FakeGpus):
        def __init__(self) -> None:
            self.gpus = [FakeGpu(0)]

    monkeypatch.setattr(pick, "connect", no_nvml)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: True)
    monkeypatch.setattr(zeus_amd, "open_gpus", lambda: (One(), FakeAmdsmi()))
    picked = pick.pick_meter(Habits(), make_rapl=no_rapl)
    assert picked.reason == "the only AMD GPU here: AMD-uuid-of-handle-0"
    monkeypatch.setattr(zeus_amd, "open_gpus", lambda: (FakeGpus(), FakeAmdsmi()))
    monkeypatch.setattr(zeus_soc, "open_soc", lambda: FakeSoc(AppleSilicon()))
    assert isinstance(pick.pick_meter(Habits(), make_rapl=no_rapl).meter, SocMeter)

    def no_soc():
        raise MeasurementError("no chip")

    monkeypatch.setattr(zeus_soc, "open_soc", no_soc)
    none = pick.pick_meter(Habits(), make_rapl=no_rapl)
    assert none.meter is None
    assert "name it, of amd=AMD-uuid-of-handle-4+AMD-uuid-of-handle-6" in none.reason
    assert none.reason.endswith("no chip; no RAPL")


@pytest.mark.skipif(not HAS_ZEUS, reason="zeus is not installed here")
def test_the_fakes_have_the_signatures_of_the_real_package():
    from zeus.device.gpu.common import GPUs
    from zeus.device.soc.apple import AppleSiliconMeasurement
    from zeus.device.soc.common import SoC
    from zeus.device.soc.jetson import DirectPower, JetsonMeasurement

    for name in [n for n in vars(FakeGpus) if n.startswith(("get_", "supports_"))]:
        mine, theirs = (inspect.signature(getattr(cls, name)) for cls in (FakeGpus, GPUs))
        assert list(mine.parameters) == list(theirs.parameters), name
    assert list(inspect.signature(SoC.get_total_energy_consumption).parameters) == ["self"]
    assert hasattr(DirectPower, "measure_power")
    known = [
        (zeus_soc.APPLE, AppleSiliconMeasurement),
        (zeus_soc.JETSON_WHOLE | zeus_soc.JETSON_PARTS, JetsonMeasurement),
    ]
    for fields, cls in known:
        assert set(fields.values()) <= set(inspect.signature(cls).parameters)


@pytest.mark.skipif(not HAS_ZEUS, reason="zeus is not installed here")
def test_the_real_amd_classes_of_zeus_run_over_a_driver_library_that_is_made_up(monkeypatch):
    from zeus.device.gpu import amd

    amd._hip_to_amdsmi_handle.cache_clear()
    monkeypatch.setattr(amd, "amdsmi", FakeAmdsmi())
    monkeypatch.setattr(amd, "amdsmi_is_available", lambda: True)
    (channel,) = open_source("amd").read().channels
    assert channel.device == "AMD-uuid-of-handle-0"
    assert channel.energy_j == pytest.approx(3 * 205.0, rel=1e-3)
    assert (channel.power_w, channel.average_power_w) == (410.0, None)


@pytest.mark.skipif(not HAS_ZEUS, reason="zeus is not installed here")
def test_the_real_zeus_without_a_device_is_a_clear_error():
    with pytest.raises(MeasurementError, match="zeus finds no AMD GPU"):
        open_source("amd")
    with pytest.raises(MeasurementError, match="zeus finds no Apple silicon or Jetson here"):
        open_source("soc")
    assert [zeus_amd.find()[0].status, zeus_soc.find()[0].status] == ["absent", "absent"]
