"""Three idle levels of a card, and energy above one of them.

net = gross − P_idle · T       exactly, never clamped: a net below 0 says that the idle level is wrong
"""

from __future__ import annotations

from enum import StrEnum

from wattlane.core.errors import InputError
from wattlane.measure.energy.budget import Budget


class IdleLevel(StrEnum):
    """What a card holds while nothing runs on it."""

    NO_CONTEXT = "no_context"
    CONTEXT = "context"
    WEIGHTS_LOADED = "weights_loaded"


def above_idle(gross: Budget, length_s: float, idle: Budget, idle_s: float) -> Budget:
    """Return `gross` less `length_s` seconds at the power of an idle window (`idle`, joules of `idle_s` seconds).

    Parts shared by the card (sensor gain) subtract; the random ones add in squares, the bounds in full.

    Raises:
        InputError: a length is not above 0.
    """
    if not (length_s > 0 and idle_s > 0):
        raise InputError(f"the window lasts {length_s} s and the idle one {idle_s} s; expected seconds above 0")
    scale = length_s / idle_s
    names = {*gross.systematic, *idle.systematic}
    return Budget(
        gross.value - idle.value / idle_s * length_s,
        {**gross.random, **{f"idle_{name}": sd * scale for name, sd in idle.random.items()}},
        {n: abs(gross.systematic.get(n, 0.0) - idle.systematic.get(n, 0.0) * scale) for n in sorted(names)},
        {**gross.bounds, **{f"idle_{name}": half * scale for name, half in idle.bounds.items()}},
    )
