"""Joules of a window from readings, from assumed watts, or absent; and their division by phase in time.

    counter:   E = C(end) − C(start), both edges interpolated between the ticks around them
    power:     E = ∫ P dt by trapezoid over every sample, held to both edges
    CPU model: E = cpu_s × W per busy core, a modelled figure

Division assumes the same power whichever phase is active. The time in which both were active goes half to each; giving
all of it to one or to the other are the ends of the interval. A phase energy found so is modelled even when the whole
is measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wattlane.core.types import Boundary, Origin
from wattlane.measure.energy.estimate import to_record, window_energy
from wattlane.measure.energy.idle import IdleLevel
from wattlane.measure.energy.integrate import MAX_GAP_S
from wattlane.measure.meters.cpu import cpu_tick_s
from wattlane.measure.readings import Reading
from wattlane.measure.spans import Spans

CPU_MODEL = "CPU seconds"
GAIN_PART = "sensor_gain_j"


@dataclass(frozen=True, slots=True)
class Energy:
    """Joules with their interval, the half-width each part alone would give, and where they come from.

    Absent is None, never 0. `reasons` read "code: sentence" and say what was noticed about the sensor.
    """

    energy_j: float | None = None
    energy_j_lo: float | None = None
    energy_j_hi: float | None = None
    error_parts: dict[str, float] = field(default_factory=dict)
    source: str | None = None
    boundary: Boundary | None = None
    status: Origin = Origin.ABSENT
    reasons: tuple[str, ...] = ()

    @property
    def half_j(self) -> float:
        """Half-width of the interval; 0 where there is none."""
        return (
            0.0 if self.energy_j_lo is None or self.energy_j_hi is None else (self.energy_j_hi - self.energy_j_lo) / 2
        )

    @property
    def random_half_j(self) -> float:
        """Half-width without the sensor's gain, which is one for all windows of a card: what their differences have."""
        return math.sqrt(max(self.half_j**2 - self.error_parts.get(GAIN_PART, 0.0) ** 2, 0.0))

    def __str__(self) -> str:
        if self.energy_j is None:
            return "absent"
        scope = self.status.value if self.boundary is None else f"{self.status.value}, {self.boundary.value}"
        return f"{self.energy_j:.4g} J [{self.energy_j_lo:.4g}, {self.energy_j_hi:.4g}] {scope}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return {
            "energy_j": self.energy_j,
            "energy_j_lo": self.energy_j_lo,
            "energy_j_hi": self.energy_j_hi,
            "error_parts": self.error_parts,
            "source": self.source,
            "boundary": None if self.boundary is None else self.boundary.value,
            "status": self.status.value,
        }


ABSENT = Energy()


def metered(readings: Sequence[Reading], start_s: float, end_s: float, *, align: bool = False) -> Energy:
    """Return the energy between two instants from readings that reach over both; absent if they do not suffice.

    With `align` both edges move to the next tick of the counter.
    """
    found = window_energy(to_record(readings), start_s, end_s, align=align, max_gap_s=MAX_GAP_S) if readings else None
    if found is None:
        return ABSENT
    first, budget = readings[0], found.energy_j
    return Energy(
        budget.value,
        budget.lo,
        budget.hi,
        budget.parts("j"),
        f"{first.source} {found.method}",
        first.boundary,
        first.origin,
        found.reasons,
    )


def above_idle(gross: Energy, length_s: float, idle: Energy, idle_s: float, level: IdleLevel) -> Energy:
    """Return E − P_idle · T exactly, never clamped, where the idle window of `idle_s` gave `idle`; absent without both.

    The gain of the sensor is shared, so that its two parts subtract.
    """
    if gross.energy_j is None or idle.energy_j is None:
        return ABSENT
    scale = length_s / idle_s
    parts = {
        "gross_j": gross.random_half_j,
        "idle_j": idle.random_half_j * scale,
        GAIN_PART: abs(gross.error_parts.get(GAIN_PART, 0.0) - idle.error_parts.get(GAIN_PART, 0.0) * scale),
    }
    net_j, half_j = gross.energy_j - idle.energy_j / idle_s * length_s, math.hypot(*parts.values())
    source = f"{gross.source}, above idle ({level.value})"
    return replace(
        gross, energy_j=net_j, energy_j_lo=net_j - half_j, energy_j_hi=net_j + half_j, error_parts=parts, source=source
    )


def modelled_cpu(cpu_s: float | None, cpu_w: float) -> Energy:
    """Return CPU seconds times assumed watts per busy core; the error of the assumption itself is not known."""
    if cpu_s is None:
        return ABSENT
    energy_j, error_j = cpu_s * cpu_w, 2 * cpu_tick_s() * cpu_w
    return Energy(
        energy_j,
        max(energy_j - error_j, 0.0),
        energy_j + error_j,
        {"cpu_tick_j": error_j},
        f"{CPU_MODEL} x {cpu_w:g} W per busy core (assumed)",
        Boundary.CPU_PACKAGE,
        Origin.MODELLED,
    )


def split(total: Energy, spans: Spans, idle_w: float | None) -> tuple[Energy, Energy]:
    """Return (prefill, decode) energy; both absent when the total is, or when nothing was active.

    With `idle_w` the seconds in which nothing was active are charged at it first; without, the total is taken to hold
    no idle energy (CPU seconds do not).
    """
    if total.energy_j is None or total.energy_j_lo is None or total.energy_j_hi is None or spans.busy_s <= 0:
        return ABSENT, ABSENT
    idle_j = (idle_w or 0.0) * spans.idle_s
    if idle_j > total.energy_j:
        return ABSENT, ABSENT
    meter_j = (total.energy_j_hi - total.energy_j_lo) / 2

    def phase(only_s: float) -> Energy:
        assert total.energy_j is not None
        share, half_overlap = only_s / spans.busy_s, spans.both_s / 2 / spans.busy_s
        net_j = total.energy_j - idle_j
        mean_j = net_j * (share + half_overlap)
        parts = {"overlap_j": net_j * half_overlap, "meter_j": meter_j * (share + half_overlap)}
        error_j = parts["overlap_j"] + parts["meter_j"]
        return replace(
            total,
            energy_j=mean_j,
            energy_j_lo=max(mean_j - error_j, 0.0),
            energy_j_hi=mean_j + error_j,
            error_parts=parts,
            source=f"{total.source}, divided by time ({spans.method})",
            status=Origin.MODELLED,
        )

    return phase(spans.prefill_only_s), phase(spans.decode_only_s)
