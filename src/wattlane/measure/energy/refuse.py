"""Decide whether a window is long enough for the precision asked: take it, repeat it, or refuse and say how long.

The random parts of one window come from its edges, so they do not grow with its length:

    relative half-width h(L) ∝ 1 / L      a single window must last  L · h / precision
    n windows of one length:  h / √n      n = ceil((h / precision)²)

The systematic parts (sensor gain) do not fall with either; a precision asked of the whole interval that lies below
them cannot be had from this sensor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from wattlane.core.errors import InputError, MeasurementError
from wattlane.measure.energy.budget import Budget, Z

MAX_REPEATS = 100


class Action(StrEnum):
    """What to do with a window."""

    TAKE = "take"
    REPEAT = "repeat"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Decision:
    """`repeats` windows of this length, or one of `needed_s`, reach the precision; both None where nothing does."""

    action: Action
    repeats: int | None
    needed_s: float | None
    message: str


def decide(
    energy: Budget, length_s: float, precision: float, *, max_repeats: int = 1, include_systematic: bool = False
) -> Decision:
    """Return whether a window of `length_s` reaches a relative half-width of `precision`.

    `precision` is asked of the random parts, which is what a comparison on one card needs; with `include_systematic`
    of the whole interval. `max_repeats` is how often the window may be repeated.

    Raises:
        InputError: `precision` or `length_s` is not above 0, or `energy` is not.
    """
    if not (precision > 0 and length_s > 0 and energy.value > 0):
        raise InputError(f"precision {precision}, length {length_s} s and energy {energy.value} must be above 0")
    fixed = (Z * math.hypot(*energy.systematic.values()) + sum(energy.bounds.values())) / energy.value
    random = energy.random_half / energy.value
    left = math.sqrt(precision**2 - fixed**2) if include_systematic and precision > fixed else precision
    if include_systematic and precision <= fixed:
        message = f"asked ±{precision:.2%}; the sensor's own ±{fixed:.2%} does not fall with length or repeats"
        return Decision(Action.REFUSE, None, None, f"{message}; compare on one card, or calibrate the sensor")
    if random <= left:
        return Decision(Action.TAKE, 1, length_s, f"±{random:.2%} random in {length_s:.3g} s, ±{left:.2%} asked")
    needed_s, repeats = length_s * random / left, math.ceil((random / left) ** 2)
    found = f"a window of {length_s:.3g} s gives ±{random:.2%} random, ±{left:.2%} was asked"
    if repeats <= min(max_repeats, MAX_REPEATS):
        return Decision(Action.REPEAT, repeats, needed_s, f"{found}; repeat it {repeats} times")
    return Decision(
        Action.REFUSE, repeats, needed_s, f"{found}; use at least {needed_s:.3g} s, or {repeats} windows of this length"
    )


def require(energy: Budget, length_s: float, precision: float) -> Budget:
    """Return `energy` if one window reaches the precision.

    Raises:
        MeasurementError: it does not; the message says the length needed.
    """
    decision = decide(energy, length_s, precision)
    if decision.action is not Action.TAKE:
        raise MeasurementError(f"window_too_short: {decision.message}")
    return energy
