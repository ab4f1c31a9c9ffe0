"""GPU energy and power through NVML (nvidia-ml-py): the total-energy counter, instant and 1 s average power by field.

    energy_j = nvmlDeviceGetTotalEnergyConsumption / 1e3      (mJ since the driver was loaded; Volta and newer)
    power_w  = NVML_FI_DEV_POWER_INSTANT / 1e3, average_power_w = NVML_FI_DEV_POWER_AVERAGE / 1e3   (mW)

Both fields are asked in one call and for the scope of the GPU, not of a superchip's module or memory.
`nvmlDeviceGetPowerUsage` is not used: it is instant on some GPUs and a 1 s average on others. Devices are named by
UUID, since indices differ between NVML and CUDA. With MIG the board's power covers every instance.
Source: https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wattlane.core.errors import MeasurementError
from wattlane.core.types import Boundary
from wattlane.measure.readings import Channel, Finding, Reading

if TYPE_CHECKING:
    from wattlane.measure.validity.scene import CardFacts

SOURCE = "nvml"
MJ_PER_J = 1e3
MW_PER_W = 1e3
GPU_SCOPE, MODULE_SCOPE = 0, 1  # NVML_POWER_SCOPE_GPU, NVML_POWER_SCOPE_MODULE


@dataclass(frozen=True, slots=True)
class Card:
    """One GPU as NVML sees it; `busy_pids` are the processes that compute on it."""

    uuid: str
    name: str
    has_counter: bool
    has_instant_power: bool
    is_mig: bool
    busy_pids: tuple[int, ...]


def connect(library: Any = None) -> Any:
    """Return the initialised NVML binding.

    Raises:
        MeasurementError: there is no driver, or it does not answer.
    """
    nvml = importlib.import_module("pynvml") if library is None else library
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise MeasurementError(f"NVML does not answer ({error}); an NVIDIA driver is needed to meter a GPU") from error
    return nvml


def cards(library: Any) -> list[Card]:
    """Return every GPU that NVML lists, in its order."""
    found = []
    for index in range(library.nvmlDeviceGetCount()):
        handle = library.nvmlDeviceGetHandleByIndex(index)
        processes = _ask(library, library.nvmlDeviceGetComputeRunningProcesses, handle) or []
        mig = _ask(library, library.nvmlDeviceGetMigMode, handle)
        found.append(
            Card(
                uuid=_text(library.nvmlDeviceGetUUID(handle)),
                name=_text(library.nvmlDeviceGetName(handle)),
                has_counter=_counter_j(library, handle) is not None,
                has_instant_power=powers_w(library, handle)[0] is not None,
                is_mig=bool(mig and mig[0]),
                busy_pids=tuple(process.pid for process in processes),
            )
        )
    return found


class NvmlMeter:
    """Reads the GPUs of the given UUIDs.

    Raises:
        MeasurementError: NVML does not answer or lists no GPU of that UUID.
    """

    def __init__(self, uuids: Sequence[str], library: Any = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.library = connect(library)
        self.uuids = tuple(uuids)
        self._clock = clock
        known = {card.uuid for card in cards(self.library)}
        missing = [uuid for uuid in uuids if uuid not in known]
        if missing or not uuids:
            asked, listed = ", ".join(missing) or "(none asked)", ", ".join(sorted(known)) or "none"
            raise MeasurementError(f"NVML lists no GPU {asked}; it lists {listed}")
        self._handles = [(uuid, self.library.nvmlDeviceGetHandleByUUID(uuid)) for uuid in uuids]

    def read(self) -> Reading:
        """Return counter and powers of each GPU; a value NVML refuses is None."""
        nvml = self.library
        channels = tuple(
            Channel(uuid, _counter_j(nvml, handle), *powers_w(nvml, handle)) for uuid, handle in self._handles
        )
        return Reading(self._clock(), SOURCE, Boundary.GPU, channels)

    def facts(self, device: str) -> CardFacts:
        """Return name, limits and MIG mode of a GPU."""
        from wattlane.measure.meters.nvml_facts import facts

        return facts(self.library, device)


def find(library: Any = None) -> list[Finding]:
    """Return what `doctor` says about NVIDIA GPUs here."""
    try:
        nvml = connect(library)
    except MeasurementError as error:
        return [Finding("sensor", SOURCE, "absent", str(error), "GPU energy needs a machine with an NVIDIA GPU")]
    found = [_finding(card) for card in cards(nvml)]
    hint = "in a container, pass the devices in (--gpus all)"
    return found or [Finding("sensor", SOURCE, "absent", "the driver answers and lists no GPU", hint)]


def _finding(card: Card) -> Finding:
    fields = [
        name
        for name, there in (("energy counter", card.has_counter), ("instant power", card.has_instant_power))
        if there
    ]
    detail = f"{card.name}: {', '.join(fields) or 'neither energy counter nor instant power'}"
    if card.is_mig:
        return Finding(
            "sensor",
            f"{SOURCE} {card.uuid}",
            "limited",
            f"{detail}; MIG is on: power is the whole board's",
            "meter with MIG off, or give the board a single instance",
        )
    status = "ok" if card.has_counter else ("limited" if fields else "absent")
    advice = "" if card.has_counter else "an energy counter needs Volta or newer and no virtual GPU"
    return Finding("sensor", f"{SOURCE} {card.uuid}", status, detail, advice)


def _counter_j(nvml: Any, handle: Any) -> float | None:
    value_mj = _ask(nvml, nvml.nvmlDeviceGetTotalEnergyConsumption, handle)
    return None if value_mj is None else value_mj / MJ_PER_J


def powers_w(nvml: Any, handle: Any, scope: int = GPU_SCOPE) -> tuple[float | None, float | None]:
    """Return (instant, averaged) watts of a scope of a card; None for what it does not give."""
    fields = (nvml.NVML_FI_DEV_POWER_INSTANT, nvml.NVML_FI_DEV_POWER_AVERAGE)
    values = _ask(nvml, nvml.nvmlDeviceGetFieldValues, handle, [(field, scope) for field in fields])
    if values is None:
        return None, None
    good = [float(v.value.uiVal) / MW_PER_W if v.nvmlReturn == nvml.NVML_SUCCESS else None for v in values]
    return good[0], good[1]


def _ask(nvml: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except nvml.NVMLError:
        return None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
