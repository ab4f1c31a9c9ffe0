"""What NVML knows of a card beside its energy: identity, limits, clocks, temperature, throttling.

Limits come in mW, clocks in MHz; what NVML refuses is None.
Source: https://docs.nvidia.com/deploy/nvml-api/ (clock event reasons, device queries).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from wattlane.measure.meters.nvml import GPU_SCOPE, MODULE_SCOPE, powers_w
from wattlane.measure.validity.identity import Board
from wattlane.measure.validity.scene import CardFacts, Health, Throttle

MW_PER_W = 1e3
MODULE_ABOVE = 1.05
HZ_PER_MHZ = 1e6
REASONS = {0x20: Throttle.THERMAL, 0x40: Throttle.THERMAL, 0x04: Throttle.POWER_CAP, 0x80: Throttle.POWER_BRAKE}


def boards(nvml: Any) -> list[Board]:
    """Return NVML's table of boards, with the instances of those that are split."""
    found = []
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        uuid, name = _text(nvml.nvmlDeviceGetUUID(handle)), _text(nvml.nvmlDeviceGetName(handle))
        found.append(Board(index, uuid, name, _instances(nvml, handle)))
    return found


def facts(nvml: Any, uuid: str) -> CardFacts:
    """Return the limits of one card."""
    handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
    mig = _ask(nvml, "nvmlDeviceGetMigMode", handle)
    limit, factory = (
        _scaled(_ask(nvml, f"nvmlDeviceGetPowerManagement{kind}Limit", handle)) for kind in ("", "Default")
    )
    slowdown = _ask(
        nvml, "nvmlDeviceGetTemperatureThreshold", handle, getattr(nvml, "NVML_TEMPERATURE_THRESHOLD_SLOWDOWN", 1)
    )
    return CardFacts(
        name=_text(nvml.nvmlDeviceGetName(handle)),
        limit_w=limit,
        default_limit_w=factory,
        slowdown_c=None if slowdown is None else float(slowdown),
        scope="gpu" if _has_scopes(nvml, handle) else "",
        is_mig=bool(mig and mig[0]),
    )


def looker(nvml: Any, uuids: Sequence[str], clock: Callable[[], float] = time.monotonic) -> Callable[[], list[Health]]:
    """Return a function that looks at the cards once."""
    handles = [(uuid, nvml.nvmlDeviceGetHandleByUUID(uuid)) for uuid in uuids]

    def look() -> list[Health]:
        return [_look(nvml, uuid, handle, clock()) for uuid, handle in handles]

    return look


def _look(nvml: Any, uuid: str, handle: Any, time_s: float) -> Health:
    clock_mhz = _ask(nvml, "nvmlDeviceGetClockInfo", handle, getattr(nvml, "NVML_CLOCK_SM", 1))
    degrees = _ask(nvml, "nvmlDeviceGetTemperature", handle, getattr(nvml, "NVML_TEMPERATURE_GPU", 0))
    bits = _ask(nvml, "nvmlDeviceGetCurrentClocksEventReasons", handle) or 0
    return Health(
        time_s,
        uuid,
        None if clock_mhz is None else clock_mhz * HZ_PER_MHZ,
        None if degrees is None else float(degrees),
        frozenset(why for bit, why in REASONS.items() if bits & bit),
    )


def _has_scopes(nvml: Any, handle: Any) -> bool:
    """Return whether the card tells the power of its GPU from that of its module, so that the scope is sure."""
    gpu_w, module_w = (powers_w(nvml, handle, scope)[1] for scope in (GPU_SCOPE, MODULE_SCOPE))
    return gpu_w is not None and module_w is not None and module_w > MODULE_ABOVE * gpu_w


def _instances(nvml: Any, handle: Any) -> tuple[str, ...]:
    mode = _ask(nvml, "nvmlDeviceGetMigMode", handle)
    if not mode or not mode[0]:
        return ()
    count = _ask(nvml, "nvmlDeviceGetMaxMigDeviceCount", handle) or 0
    children = [_ask(nvml, "nvmlDeviceGetMigDeviceHandleByIndex", handle, i) for i in range(count)]
    return tuple(_text(nvml.nvmlDeviceGetUUID(child)) for child in children if child is not None)


def _scaled(value_mw: Any) -> float | None:
    return None if value_mw is None else float(value_mw) / MW_PER_W


def _ask(nvml: Any, name: str, *arguments: Any) -> Any:
    """Return what NVML answers; None where it refuses, or where the binding is too old to know the call."""
    function = getattr(nvml, name, None)
    if function is None:
        return None
    try:
        return function(*arguments)
    except nvml.NVMLError:
        return None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
