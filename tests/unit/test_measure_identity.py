"""The metered board is the one that works: CUDA's numbering against NVML's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from measure_fake_nvml import FakeNvml

from wattlane.core.errors import MeasurementError
from wattlane.measure.meters import nvml_facts
from wattlane.measure.validity.codes import Code
from wattlane.measure.validity.identity import Board, cuda_devices, same_uuid, sum_boards, working_uuids
from wattlane.measure.validity.judge import examine
from wattlane.measure.validity.scene import Throttle
from wattlane.measure.validity.seeded import draw, scene_of

FOUR = [Board(i, f"GPU-{name}", "H100") for i, name in enumerate(("aa11", "ab22", "cc33", "dd44"))]
SPLIT = [Board(0, "GPU-aa11", "A100", ("MIG-one", "MIG-two")), Board(1, "GPU-bb22", "A100")]


def seen(visible=None, boards=FOUR, order=""):
    return [device.board.index for device in cuda_devices(boards, visible, order)]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [0, 1, 2, 3]),
        ("", []),
        ("2", [2]),
        ("3, 1", [3, 1]),
        ("GPU-cc33,0", [2, 0]),
        ("GPU-cc", [2]),
        ("GPU-a", []),  # two boards begin so
        ("1,9,0", [1]),  # the list ends at the first entry that names nothing
        ("1,-1,0", [1]),
        ("1,1", []),  # a repeated entry hides everything
        ("NoDevFiles", []),
    ],
)
def test_visible_devices_are_read_as_cuda_reads_them(visible, expected):
    assert seen(visible) == expected


def test_d2_a_cuda_index_that_is_not_the_nvml_index_finds_the_right_board():
    devices = cuda_devices(FOUR, "2,0")
    assert working_uuids(devices, [0]) == ("GPU-cc33",)  # NVML's index 0 would be GPU-aa11
    assert working_uuids(devices) == ("GPU-cc33", "GPU-aa11")
    with pytest.raises(MeasurementError, match="device 2 is not visible; 2 are"):
        working_uuids(devices, [2])


def test_d2_metering_by_the_cuda_index_is_quarantined_and_by_uuid_is_not():
    scene = scene_of(draw(1))
    (series,) = scene.series
    working = working_uuids(cuda_devices(FOUR, "2"))
    activity = replace(scene.activity, working=working)
    right = replace(scene, series=(replace(series, device="GPU-cc33"),), activity=activity, health=())
    wrong = replace(right, series=(replace(series, device=FOUR[0].uuid),))
    assert examine(right).codes == ()
    verdict = examine(wrong)
    assert verdict.quarantined
    assert verdict.codes == (Code.WRONG_DEVICE,)
    assert "GPU-cc33" in str(verdict.reasons[0])


def test_d2_unlike_boards_are_refused_unless_the_order_is_the_bus():
    mixed = [Board(0, "GPU-aa11", "L4"), Board(1, "GPU-bb22", "H100")]
    with pytest.raises(MeasurementError, match=r"fastest board first[\s\S]*H100, L4[\s\S]*CUDA_DEVICE_ORDER"):
        cuda_devices(mixed, "0")
    assert seen("1", mixed, "PCI_BUS_ID") == [1]
    assert seen("GPU-aa11", mixed) == [0]


def test_mig_instances_lead_to_their_board_once():
    devices = cuda_devices(SPLIT, "MIG-one,MIG-two,GPU-bb22")
    assert [(device.board.index, device.mig_uuid) for device in devices] == [(0, "MIG-one"), (0, "MIG-two"), (1, None)]
    assert working_uuids(devices) == ("GPU-aa11", "GPU-bb22")
    assert [device.mig_uuid for device in cuda_devices(SPLIT)] == ["MIG-one"]
    assert cuda_devices(SPLIT, "MIG-GPU-aa11/1/0")[0].board.index == 0
    assert cuda_devices(SPLIT, "0")[0].mig_uuid == "MIG-one"
    assert cuda_devices(SPLIT, "MIG-none") == ()


def test_sums_hold_each_working_board_once_and_never_a_missing_one():
    joules = {"GPU-aa11": 10.0, "GPU-ab22": 20.0, "GPU-cc33": None}
    assert sum_boards(joules, ["GPU-aa11", "GPU-ab22", "GPU-aa11"]) == 30.0
    with pytest.raises(MeasurementError, match="no energy of GPU-cc33"):
        sum_boards(joules, ["GPU-aa11", "GPU-cc33"])
    with pytest.raises(MeasurementError, match="no device"):
        sum_boards(joules, [])


def test_uuids_match_with_and_without_their_prefix():
    assert same_uuid("GPU-AA11", "aa11")
    assert not same_uuid("GPU-aa11", "GPU-ab22")


class SplitNvml(FakeNvml):
    """One split board and one whole one; limits in mW, clocks in MHz."""

    def nvmlDeviceGetFieldValues(self, handle, fields):
        raise self.NVMLError("Not Supported")

    def nvmlDeviceGetUUID(self, handle):
        return f"GPU-{handle}" if handle in (0, 1) else f"MIG-{handle}"

    def nvmlDeviceGetName(self, handle):
        return b"NVIDIA A100"

    def nvmlDeviceGetMigMode(self, handle):
        return [int(handle == 0), 0]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle):
        return 3

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, i):
        if i == 2:
            raise self.NVMLError("Not Found")
        return f"{i}"

    def nvmlDeviceGetPowerManagementLimit(self, handle):
        return 300_000

    def nvmlDeviceGetPowerManagementDefaultLimit(self, handle):
        raise self.NVMLError("Not Supported")

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return 1410

    def nvmlDeviceGetTemperature(self, handle, kind):
        return 61

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle):
        return 0x04 | 0x40


def test_nvml_gives_boards_limits_and_health_in_si_units():
    nvml = SplitNvml()
    whole = nvml_facts.boards(nvml)
    assert whole == [Board(0, "GPU-0", "NVIDIA A100", ("MIG-0", "MIG-1")), Board(1, "GPU-1", "NVIDIA A100")]
    facts = nvml_facts.facts(nvml, "GPU-0")
    assert (facts.limit_w, facts.default_limit_w, facts.slowdown_c, facts.is_mig) == (300.0, None, None, True)
    (look,) = nvml_facts.looker(nvml, ["GPU-1"], lambda: 5.0)()
    assert (look.time_s, look.device, look.sm_clock_hz, look.temperature_c) == (5.0, "GPU-1", 1.41e9, 61.0)
    assert look.throttle == {Throttle.POWER_CAP, Throttle.THERMAL}
