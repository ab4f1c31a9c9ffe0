"""Clocks held down: by heat, by the power limit, by a brake; and a clock that changed by itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wattlane.measure.validity.codes import Code, Level, Reason
from wattlane.measure.validity.scene import Health, Scene, Throttle

THERMAL_SHARE = 0.05
POWER_SHARE = 0.05
CLOCK_DRIFT = 0.03
FEWEST = 6


def check_throttle(scene: Scene) -> Iterator[Reason]:
    """Judge the share of the window's looks at a card in which it was held down."""
    for device, looks in _by_device(scene).items():
        facts = scene.fact(device)
        hot = _share(looks, Throttle.THERMAL)
        if facts.slowdown_c is not None:
            limit_c = facts.slowdown_c
            hot = max(
                hot,
                sum(look.temperature_c is not None and look.temperature_c >= limit_c for look in looks) / len(looks),
            )
        if hot > 0:
            temperatures = [look.temperature_c for look in looks if look.temperature_c is not None]
            hottest = f", up to {max(temperatures):.0f} C" if temperatures else ""
            level = Level.QUARANTINED if hot >= THERMAL_SHARE else Level.WARNED
            yield Reason(
                Code.THERMAL_THROTTLE, f"{device} was slowed by heat in {hot:.0%} of the window{hottest}", level
            )
        yield from _power(device, looks, scene)


def check_clock(scene: Scene) -> Iterator[Reason]:
    """Find a clock whose first and last thirds of the window differ, while nothing says it was held down."""
    if not scene.activity.is_busy:
        return
    for device, looks in _by_device(scene).items():
        clocks_hz = [look.sm_clock_hz for look in looks if look.sm_clock_hz is not None and not look.throttle]
        if len(clocks_hz) < FEWEST:
            continue
        third = len(clocks_hz) // 3
        first_hz, last_hz = float(np.median(clocks_hz[:third])), float(np.median(clocks_hz[-third:]))
        if abs(last_hz - first_hz) > CLOCK_DRIFT * first_hz:
            yield Reason(Code.CLOCK_CHANGED, f"{device} went from {first_hz / 1e6:.0f} MHz to {last_hz / 1e6:.0f} MHz")


def _power(device: str, looks: list[Health], scene: Scene) -> Iterator[Reason]:
    facts = scene.fact(device)
    capped, braked = _share(looks, Throttle.POWER_CAP), _share(looks, Throttle.POWER_BRAKE)
    if braked > 0:
        yield Reason(Code.POWER_THROTTLE, f"the power brake held {device} in {braked:.0%} of the window")
    elif capped >= POWER_SHARE:
        factory_w = facts.default_limit_w if facts.default_limit_w is not None else facts.tdp_w
        is_lowered = facts.limit_w is not None and factory_w is not None and facts.limit_w < 0.98 * factory_w
        limit = f" of {facts.limit_w:.0f} W" if facts.limit_w is not None else ""
        lowered = f", lowered from {factory_w:.0f} W" if is_lowered else ""
        yield Reason(
            Code.POWER_THROTTLE,
            f"{device} was held at its limit{limit}{lowered} in {capped:.0%} of the window",
            Level.QUARANTINED if is_lowered else Level.WARNED,
        )


def _by_device(scene: Scene) -> dict[str, list[Health]]:
    found: dict[str, list[Health]] = {}
    for look in scene.health:
        if scene.activity.start_s <= look.time_s <= scene.activity.end_s:
            found.setdefault(look.device, []).append(look)
    return found


def _share(looks: list[Health], why: Throttle) -> float:
    return sum(why in look.throttle for look in looks) / len(looks)
