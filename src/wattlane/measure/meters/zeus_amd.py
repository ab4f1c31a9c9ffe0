"""AMD GPUs through zeus (`zeus.device.gpu.amd`, over amdsmi): energy counter, instant and average socket power.

    energy_j = get_total_energy_consumption / 1e3                                                      (mJ)
    power_w, average_power_w = get_instant_power_usage / 1e3, get_average_power_usage / 1e3            (mW)

zeus checks for half a second that the counter agrees with the power within a factor of ten, because it is wrong on
some cards (ROCm/amdsmi issue 38), and switches it off there; power is then integrated here, not by zeus. GPUs carry the
UUID of their board, and may be named by it or by their HIP number (the one PyTorch uses). On MI250 the even number
stands for both chiplets and the odd one has no values. zeus masks GPUs by HIP_VISIBLE_DEVICES.
Source: zeus 0.16.0, device/gpu/amd.py; the API is the same since 0.13.
"""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from wattlane.core.errors import MeasurementError
from wattlane.core.extras import require
from wattlane.core.types import Boundary
from wattlane.measure.readings import Channel, Finding, Reading

if TYPE_CHECKING:
    from wattlane.measure.validity.scene import CardFacts

SOURCE = "amd"
MODULE = "zeus.device.gpu.amd"
MJ_PER_J = 1e3
MW_PER_W = 1e3


def open_gpus() -> tuple[Any, Any]:
    """Return zeus' AMD GPUs and the driver library below them.

    Raises:
        MissingExtraError: zeus is not installed.
        MeasurementError: there is no AMD GPU, or its driver does not answer.
    """
    amd = require(MODULE)
    if not amd.amdsmi_is_available():
        raise MeasurementError(
            "zeus finds no AMD GPU: amdsmi does not start; it needs ROCm 6.2 or newer on this machine"
        )
    try:
        return amd.AMDGPUs(), amd.amdsmi
    except Exception as error:  # zeus' device errors share no base class with the driver's own
        raise MeasurementError(
            f"zeus cannot open the AMD GPUs ({error}); see amd-smi for the driver's state"
        ) from error


class AmdMeter:
    """Reads AMD GPUs, by UUID or HIP number; all that zeus lists when none is named.

    `gpus` and `library` are zeus' object and the driver module below it, opened when not given.

    Raises:
        MissingExtraError: zeus is not installed.
        MeasurementError: there is no AMD GPU, or none of that name.
    """

    def __init__(
        self,
        names: Sequence[str] = (),
        gpus: Any = None,
        library: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gpus, self._library = (gpus, library) if gpus is not None else open_gpus()
        self._clock = clock
        listed = {_uuid(self._library, gpu): index for index, gpu in enumerate(self._gpus.gpus)}
        by_number = {str(gpu.gpu_index): uuid for gpu, uuid in zip(self._gpus.gpus, listed, strict=True)}
        missing = [name for name in names if name not in listed and name not in by_number]
        if missing or not listed:
            known = ", ".join(f"{number} {uuid}" for number, uuid in by_number.items()) or "none"
            raise MeasurementError(f"zeus lists no AMD GPU {', '.join(missing) or '(none asked)'}; it lists {known}")
        chosen = dict.fromkeys(by_number.get(name, name) for name in names) or listed
        self._index = {uuid: listed[uuid] for uuid in chosen}
        self.uuids = tuple(self._index)

    def read(self) -> Reading:
        """Return counter and powers of each GPU; a value zeus refuses is None."""
        channels = tuple(self._channel(uuid, index) for uuid, index in self._index.items())
        return Reading(self._clock(), SOURCE, Boundary.GPU, channels)

    def facts(self, device: str) -> CardFacts:
        """Return name and limit of a GPU."""
        from wattlane.measure.validity.scene import CardFacts

        index = self._index[device]
        limit_mw = _ask(self._gpus.get_power_management_limit, index)
        name = _ask(self._gpus.get_name, index)
        return CardFacts(str(name or ""), limit_w=None if limit_mw is None else limit_mw / MW_PER_W)

    def _channel(self, uuid: str, index: int) -> Channel:
        gpus, energy_mj = self._gpus, None
        if _ask(gpus.supports_get_total_energy_consumption, index):
            energy_mj = _ask(gpus.get_total_energy_consumption, index)
        powers_mw = [_ask(gpus.get_instant_power_usage, index), _ask(gpus.get_average_power_usage, index)]
        watts = [None if value is None else value / MW_PER_W for value in powers_mw]
        return Channel(uuid, None if energy_mj is None else energy_mj / MJ_PER_J, *watts)


def find() -> list[Finding]:
    """Return what `doctor` says about AMD GPUs here."""
    if importlib.util.find_spec("zeus") is None:
        return [
            Finding("sensor", SOURCE, "absent", "zeus is not installed", "for AMD GPUs: pip install 'wattlane[zeus]'")
        ]
    try:
        meter = AmdMeter()
    except (MeasurementError, ImportError) as error:
        return [Finding("sensor", SOURCE, "absent", str(error))]
    found = []
    for channel in meter.read().channels:
        has = [
            word
            for word, value in (
                ("energy counter", channel.energy_j),
                ("instant power", channel.power_w),
                ("average power", channel.average_power_w),
            )
            if value is not None
        ]
        status = "ok" if channel.energy_j is not None else ("limited" if has else "absent")
        detail = f"{meter.facts(channel.device).name}: {', '.join(has) or 'neither energy nor power'}"
        found.append(Finding("sensor", f"{SOURCE} {channel.device}", status, detail))
    return found


def _uuid(library: Any, gpu: Any) -> str:
    with contextlib.suppress(Exception):
        return f"AMD-{library.amdsmi_get_gpu_device_uuid(gpu.handle)}"
    return f"AMD-{gpu.gpu_index}"


def _ask(function: Callable[..., Any], index: int) -> Any:
    try:
        return function(index)
    except Exception:  # noqa: BLE001 zeus raises a class of its own for each vendor code; each means "no value"
        return None
