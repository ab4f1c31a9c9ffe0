"""Joules of a window from readings, from assumed watts, or absent; and their division by phase in time.

    counter:   E = C(end) − C(start), both edges interpolated between the ticks around them
    power:     E = ∫ P dt by trapezoid over every sample, held to both edges
    CPU model: E = cpu_s × W per busy core, a modelled figure

Division assumes the same power whichever phase is active. The time in which both were active goes half to each; giving
all of it to one or to the other are the ends of the interval. A phase energy found so is modelled even when the whole
is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from wattlane.core.types import Boundary, Origin
from wattlane.measure.energy.budget import Budget, Z, scaled
from wattlane.measure.energy.estimate import Sensor, to_record, window_energy
from wattlane.measure.energy.idle import IdleLevel, above_idle
from wattlane.measure.meters.cpu import cpu_tick_s
from wattlane.measure.readings import Reading
from wattlane.measure.spans import Spans

CPU_MODEL = "CPU seconds"
GAIN_PART = "sensor_gain_j"


@dataclass(frozen=True, slots=True)
class Energy:
    """Joules with the parts of their error, and where they come from.

    Absent is None, never 0. `reasons` read "code: sentence" and say what was noticed about the sensor.
    """

    budget: Budget | None = None
    source: str | None = None
    boundary: Boundary | None = None
    status: Origin = Origin.ABSENT
    reasons: tuple[str, ...] = ()

    @property
    def energy_j(self) -> float | None:
        """Joules; None where absent."""
        return None if self.budget is None else self.budget.value

    @property
    def energy_j_lo(self) -> float | None:
        """Lower end of the 95 % interval."""
        return None if self.budget is None else self.budget.lo

    @property
    def energy_j_hi(self) -> float | None:
        """Upper end of the 95 % interval."""
        return None if self.budget is None else self.budget.hi

    @property
    def error_parts(self) -> dict[str, float]:
        """The half-width that each part alone would give."""
        return {} if self.budget is None else self.budget.parts("j")

    @property
    def is_cpu_model(self) -> bool:
        """Whether this is CPU seconds times assumed watts, which hold no idle energy."""
        return (self.source or "").startswith(CPU_MODEL)

    def __str__(self) -> str:
        if self.budget is None:
            return "absent"
        scope = self.status.value if self.boundary is None else f"{self.status.value}, {self.boundary.value}"
        return f"{self.budget.value:.4g} J [{self.budget.lo:.4g}, {self.budget.hi:.4g}] {scope}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return {
            "energy_j": self.energy_j,
            "energy_j_lo": self.energy_j_lo,
            "energy_j_hi": self.energy_j_hi,
            "random_half_j": None if self.budget is None else self.budget.random_half,
            "bounds_j": None if self.budget is None else sum(self.budget.bounds.values()),
            "error_parts": self.error_parts,
            "source": self.source,
            "boundary": None if self.boundary is None else self.boundary.value,
            "status": self.status.value,
        }


ABSENT = Energy()


def metered(
    readings: Sequence[Reading], start_s: float, end_s: float, *, align: bool = False, highest_w: float | None = None
) -> Energy:
    """Return the energy between two instants from readings that reach over both; absent if they do not suffice.

    With `align` both edges move to the next tick of the counter. `highest_w` is the power limit of the devices.
    """
    sensor = Sensor(highest_w=highest_w)
    found = window_energy(to_record(readings), start_s, end_s, sensor=sensor, align=align) if readings else None
    if found is None:
        return ABSENT
    first = readings[0]
    return Energy(found.energy_j, f"{first.source} {found.method}", first.boundary, first.origin, found.reasons)


def net_of_idle(gross: Energy, length_s: float, idle: Energy, idle_s: float, level: IdleLevel) -> Energy:
    """Return E − P_idle · T exactly, never clamped; `idle` is that of a window of `idle_s`; absent without either."""
    if gross.budget is None or idle.budget is None:
        return ABSENT
    net = above_idle(gross.budget, length_s, idle.budget, idle_s)
    return replace(gross, budget=net, source=f"{gross.source}, above idle ({level.value})")


def modelled_cpu(cpu_s: float | None, cpu_w: float) -> Energy:
    """Return CPU seconds times assumed watts per busy core; the error of the assumption itself is not known."""
    if cpu_s is None:
        return ABSENT
    return Energy(
        Budget(cpu_s * cpu_w, {"cpu_tick": 2 * cpu_tick_s() * cpu_w / Z}),
        f"{CPU_MODEL} x {cpu_w:g} W per busy core (assumed)",
        Boundary.CPU_PACKAGE,
        Origin.MODELLED,
    )


def split(total: Energy, spans: Spans, idle: Energy = ABSENT, idle_s: float = 0.0) -> tuple[Energy, Energy]:
    """Return (prefill, decode) energy; both absent when the total is, or when nothing was active.

    The seconds in which nothing was active are charged at the power of the idle window (`idle`, of `idle_s`) first.
    Where that is absent they drew between nothing and the mean power: the bound "idle". CPU seconds hold no idle draw.
    """
    busy = _busy(total, spans, idle, idle_s)
    if busy is None or busy.value < 0:
        return ABSENT, ABSENT

    def phase(only_s: float) -> Energy:
        share, half_overlap = only_s / spans.busy_s, spans.both_s / 2 / spans.busy_s
        own = scaled(busy, share + half_overlap)
        own = replace(own, bounds={**own.bounds, "overlap": busy.value * half_overlap})
        source = f"{total.source}, divided by time ({spans.method})"
        return replace(total, budget=own, source=source, status=Origin.MODELLED)

    return phase(spans.prefill_only_s), phase(spans.decode_only_s)


def _busy(total: Energy, spans: Spans, idle: Energy, idle_s: float) -> Budget | None:
    """Return the energy of the seconds in which a phase was active; None where there is none to divide."""
    if total.budget is None or not spans.busy_s > 0:
        return None
    if total.is_cpu_model or not spans.idle_s > 0:
        return total.budget
    if idle.budget is not None:
        return above_idle(total.budget, spans.idle_s, idle.budget, idle_s)
    unknown = total.budget.value * spans.idle_s / spans.window_s / 2
    kept = scaled(total.budget, 1 - spans.idle_s / spans.window_s / 2)
    return replace(kept, bounds={**kept.bounds, "idle": abs(unknown)})
