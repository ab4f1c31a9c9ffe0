"""Test a sensor before trusting it: watch it for a few seconds and say what it does.

    period   median time between changes of the counter, and of the power
    lag      length of the running average that makes the reported power out of the counter's
    gap      counter against integrated power over the same seconds

A lag shows only while power varies: run a load meanwhile. The best source is the counter, unless it is faulty; then
instant power; then averaged power, for long windows only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wattlane.core.errors import InputError
from wattlane.measure.readings import Finding, Meter, Reading, take
from wattlane.measure.validity import counter, levels, sampling, scope
from wattlane.measure.validity.codes import RULES, Code, Level, Reason
from wattlane.measure.validity.estimates import averaging_lag_s, counter_mean_w, mean_w, power_mean_w, refresh_s
from wattlane.measure.validity.scene import Activity, CardFacts, Scene, Series, to_series
from wattlane.measure.validity.settle import settle

POLL_S = 0.005
SHORTEST_S = 0.5
CHECKS = (
    scope.check_mig,
    scope.check_module,
    sampling.check_stale,
    sampling.check_missing,
    counter.check_unit,
    counter.check_falls,
    counter.check_frozen,
    counter.check_agreement,
    levels.check_constant,
)
KINDS = ("energy counter", "instant power, integrated", "averaged power, windows of 20 s and more")  # the best first
NO_SOURCE = "none"
COUNTER_FAULTS = {Code.COUNTER_FROZEN, Code.COUNTER_RESET, Code.COUNTER_WRAP, Code.COUNTER_DISAGREES, Code.WRONG_UNIT}


@dataclass(frozen=True, slots=True)
class SensorTest:
    """What one device did in a self-test; None is not there or could not be seen."""

    source: str
    device: str
    seconds: float
    reads: int
    counter_period_s: float | None
    power_period_s: float | None
    averaging_s: float | None
    counter_w: float | None
    power_w: float | None
    best: str
    reasons: tuple[Reason, ...]

    @property
    def gap(self) -> float | None:
        """Integrated power against the counter, relative."""
        return None if not self.counter_w or self.power_w is None else self.power_w / self.counter_w - 1

    @property
    def faulty(self) -> bool:
        """Whether a fault forbids using this device as it is."""
        return any(reason.level is Level.QUARANTINED for reason in self.reasons)

    def findings(self) -> list[Finding]:
        """Return the lines of a diagnosis: the device, then each fault."""
        status = "fault" if self.faulty else ("limited" if self.reasons else "ok")
        lines = [Finding("self-test", f"{self.source} {self.device}", status, self._detail())]
        for reason in self.reasons:
            mark = "fault" if reason.level is Level.QUARANTINED else "limited"
            detail = f"{reason.code.value}: {reason.detail}; expected {RULES[reason.code].expected}"
            lines.append(Finding("self-test", f"{self.source} {self.device}", mark, detail, RULES[reason.code].remedy))
        return lines

    def _detail(self) -> str:
        parts = [f"{self.reads} reads in {self.seconds:.1f} s"]
        if self.counter_period_s is not None:
            parts.append(f"counter moves each {self.counter_period_s * 1e3:.0f} ms")
        if self.power_period_s is not None:
            lag = "averaging not seen" if self.averaging_s is None else f"averages {self.averaging_s:.2f} s"
            parts.append(f"power renewed each {self.power_period_s * 1e3:.0f} ms, {lag}")
        if self.gap is not None:
            parts.append(f"counter {self.counter_w:.1f} W, integrated power {self.power_w:.1f} W ({self.gap:+.1%})")
        return f"{'; '.join(parts)}; best source: {self.best}"


def self_test(
    meter: Meter,
    seconds: float,
    *,
    facts: Mapping[str, CardFacts] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[SensorTest]:
    """Watch `meter` for `seconds` and return a test per device.

    Raises:
        InputError: `seconds` is too short to see anything.
    """
    if not seconds >= SHORTEST_S:
        raise InputError(f"a self-test of {seconds:g} s was asked; expected at least {SHORTEST_S:g} s")
    readings, end_s = [meter.read()], clock() + seconds
    while clock() < end_s:
        sleep(POLL_S)
        take(meter, readings)
    return judge_sensors(readings, facts or {})


def judge_sensors(readings: list[Reading], facts: Mapping[str, CardFacts]) -> list[SensorTest]:
    """Return a test per device of a record of close readings."""
    start_s, end_s = readings[0].time_s, readings[-1].time_s
    found = []
    for series in to_series(readings):
        scene = Scene((series,), Activity(start_s, end_s, busy_share=None), facts)
        found.append(_test(readings[0].source, series, scene))
    return found


def _test(source: str, series: Series, scene: Scene) -> SensorTest:
    start_s, end_s = scene.activity.start_s, scene.activity.end_s
    reasons = [reason for check in CHECKS for reason in check(scene)]
    level_w = mean_w(series, start_s, end_s)
    if level_w is not None:
        beyond = levels.level_reason(level_w, None, scene.fact(series.device).cap_w, series.device)
        reasons += [] if beyond is None else [beyond]
    verdict = settle(reasons)
    has_instant = bool(np.isfinite(series.power_w).any())
    return SensorTest(
        source,
        series.device,
        end_s - start_s,
        len(series.time_s),
        refresh_s(series.time_s, series.counter_j) if series.has_counter else None,
        refresh_s(series.time_s, series.used_power_w) if series.has_power else None,
        averaging_lag_s(series),
        counter_mean_w(series, start_s, end_s),
        power_mean_w(series, start_s, end_s) if series.has_power else None,
        _best(series, {reason.code for reason in verdict.reasons if reason.level is Level.QUARANTINED}, has_instant),
        verdict.reasons,
    )


def _best(series: Series, fatal: set[Code], has_instant: bool) -> str:
    usable = not fatal - COUNTER_FAULTS
    counter_kind, instant_kind, averaged_kind = KINDS
    if usable and series.has_counter and not fatal:
        return counter_kind
    if usable and has_instant and Code.WRONG_UNIT not in fatal:
        return instant_kind
    if usable and series.has_power and Code.WRONG_UNIT not in fatal:
        return averaged_kind
    return NO_SOURCE


def best_source(tests: Sequence[SensorTest]) -> Finding:
    """Return the line that names the best source among those tested: by kind, then by its period."""
    usable = [test for test in tests if test.best != NO_SOURCE]
    if not usable:
        return Finding("best source", "none", "absent", "every source has a fault that forbids using it")
    test = min(usable, key=lambda one: (KINDS.index(one.best), one.counter_period_s or one.power_period_s or 0.0))
    return Finding("best source", f"{test.source} {test.device}", "ok", test.best)
