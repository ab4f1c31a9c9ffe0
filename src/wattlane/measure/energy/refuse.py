"""Decide whether a window is long enough for the precision asked: take it, repeat it, or refuse and say how long.

The random parts of one window come from its edges, so they do not grow with its length:

    relative half-width h(L) ∝ 1 / L      a single window must last  L · h / precision
    n windows of one length:  h / √n      n = ceil((h / precision)²)

Bounds (a load that hides from the sensor) do not fall with either, nor do the systematic parts (sensor gain), which
count only where the precision is asked of the whole interval. A precision below them cannot be had from this sensor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from wattlane.core.errors import InputError, MeasurementError
from wattlane.measure.energy.budget import Budget, Z

MAX_REPEATS = 100
# bounds on what happens beside an edge or in one silence: they do not grow with length
EDGE_BOUNDS = ("gaps", "lag", "averaging", "aliasing_edges")


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

    `precision` is asked of the random parts and the bounds, which is what a comparison on one card needs; with
    `include_systematic` of the whole interval. `max_repeats` is how often the window may be repeated.

    Raises:
        InputError: `precision` or `length_s` is not above 0, or `energy` is not.
    """
    if not (precision > 0 and length_s > 0 and energy.value > 0):
        raise InputError(f"precision {precision}, length {length_s} s and energy {energy.value} must be above 0")
    gain = Z * math.hypot(*energy.systematic.values()) / energy.value if include_systematic else 0.0
    bounds = sum(half for name, half in energy.bounds.items() if name not in EDGE_BOUNDS) / energy.value
    random = (energy.random_half + sum(energy.bounds.get(name, 0.0) for name in EDGE_BOUNDS)) / energy.value
    left = math.sqrt(max((precision - bounds) ** 2 - gain**2, 0.0)) if precision > bounds else 0.0
    if left == 0.0:
        message = f"asked ±{precision:.2%}; the sensor's own ±{bounds + gain:.2%} does not fall with length or repeats"
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
