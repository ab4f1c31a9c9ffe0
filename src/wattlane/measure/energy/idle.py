"""Three idle levels of a card, and energy above one of them.

net = gross − P_idle · T       exactly, never clamped: a net below 0 says that the idle level is wrong
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from wattlane.core.errors import InputError
from wattlane.measure.energy.budget import Budget


class IdleLevel(StrEnum):
    """What a card holds while nothing runs on it."""

    NO_CONTEXT = "no_context"
    CONTEXT = "context"
    WEIGHTS_LOADED = "weights_loaded"


@dataclass(frozen=True, slots=True)
class IdleLevels:
    """Idle power, watts, at each level; None where it was not measured."""

    no_context_w: Budget | None = None
    context_w: Budget | None = None
    weights_loaded_w: Budget | None = None

    def at(self, level: IdleLevel) -> Budget:
        """Return the power of a level.

        Raises:
            InputError: it was not measured.
        """
        found: Budget | None = getattr(self, f"{level.value}_w")
        if found is None:
            known = [each.value for each in IdleLevel if getattr(self, f"{each.value}_w") is not None]
            raise InputError(
                f"idle power at level {level.value} was not measured; measured: {', '.join(known) or 'none'}"
            )
        return found


@dataclass(frozen=True, slots=True)
class GrossNet:
    """Energy of a window as metered, and above an idle level over its length."""

    gross_j: Budget
    net_j: Budget
    level: IdleLevel
    idle_w: float
    length_s: float


def above_idle(gross_j: Budget, length_s: float, idle: IdleLevels, level: IdleLevel) -> GrossNet:
    """Return gross and net energy; parts shared by the card (sensor gain) subtract, the others add in squares.

    Raises:
        InputError: that idle level was not measured, or `length_s` is not above 0.
    """
    if not length_s > 0:
        raise InputError(f"length_s is {length_s}; expected seconds above 0")
    idle_w = idle.at(level)
    names = {*gross_j.systematic, *idle_w.systematic}
    net = Budget(
        gross_j.value - idle_w.value * length_s,
        {**gross_j.random, **{f"idle_{name}": sd * length_s for name, sd in idle_w.random.items()}},
        {n: abs(gross_j.systematic.get(n, 0.0) - idle_w.systematic.get(n, 0.0) * length_s) for n in sorted(names)},
        {**gross_j.bounds, **{f"idle_{name}": half * length_s for name, half in idle_w.bounds.items()}},
    )
    return GrossNet(gross_j, net, level, idle_w.value, length_s)
