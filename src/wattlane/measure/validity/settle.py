"""From reasons to a verdict: one reason a code, symptoms under their cause, the worst first.

`EXPLAINS` says which symptoms a cause hides: a counter in the wrong unit also disagrees with power, and only the unit
is named. A cause never hides a graver reason.
"""

from __future__ import annotations

from collections.abc import Iterable

from wattlane.measure.validity.codes import Code, Level, Reason, Verdict

_UPSTREAM = {Code.BUSY_AT_IDLE, Code.BUSY_NEAR_IDLE, Code.COUNTER_DISAGREES}
_SHAPE = {Code.RAMP_IN_WINDOW, Code.WINDOW_TOO_SHORT, Code.AVERAGED_POWER, Code.CONSTANT_VALUE}
EXPLAINS: dict[Code, frozenset[Code]] = {
    Code.WRONG_DEVICE: frozenset({*_UPSTREAM, Code.GPU_MISSING, Code.IDLE_GPUS_SUMMED, Code.RAMP_IN_WINDOW}),
    Code.IDLE_GPUS_SUMMED: frozenset({Code.BUSY_AT_IDLE, Code.BUSY_NEAR_IDLE}),
    Code.MIG_REPEATS: frozenset({Code.ABOVE_LIMIT, Code.IDLE_GPUS_SUMMED, Code.WRONG_DEVICE}),
    Code.MODULE_SCOPE: frozenset({Code.ABOVE_LIMIT, Code.COUNTER_DISAGREES}),
    Code.STALE_SOURCE: frozenset({*_UPSTREAM, *_SHAPE, Code.COUNTER_FROZEN, Code.ABOVE_LIMIT}),
    Code.MISSING_SAMPLES: frozenset({Code.COUNTER_DISAGREES, Code.WINDOW_TOO_SHORT, Code.COUNTER_FROZEN}),
    Code.WRONG_UNIT: frozenset(
        {*_UPSTREAM, Code.ABOVE_LIMIT, Code.RAMP_IN_WINDOW, Code.IDLE_GPUS_SUMMED, Code.AVERAGED_POWER}
    ),
    Code.COUNTER_WRAP: frozenset({*_UPSTREAM, Code.NONPOSITIVE_ENERGY, Code.WRONG_UNIT}),
    Code.COUNTER_RESET: frozenset({*_UPSTREAM, Code.NONPOSITIVE_ENERGY, Code.WRONG_UNIT}),
    Code.COUNTER_FROZEN: frozenset({*_UPSTREAM, Code.NONPOSITIVE_ENERGY, Code.WINDOW_TOO_SHORT, Code.WRONG_UNIT}),
    Code.NONPOSITIVE_ENERGY: frozenset({*_UPSTREAM, *_SHAPE, Code.STALE_SOURCE}),
    Code.CONSTANT_VALUE: frozenset({*_UPSTREAM, Code.RAMP_IN_WINDOW}),
    Code.WINDOW_TOO_SHORT: frozenset({Code.COUNTER_DISAGREES}),
    Code.RAMP_IN_WINDOW: frozenset({Code.BUSY_NEAR_IDLE, Code.CLOCK_CHANGED}),
    Code.AVERAGED_POWER: frozenset({Code.COUNTER_DISAGREES, Code.BUSY_NEAR_IDLE, Code.RAMP_IN_WINDOW}),
    Code.THERMAL_THROTTLE: frozenset({Code.CLOCK_CHANGED, Code.POWER_THROTTLE}),
    Code.POWER_THROTTLE: frozenset({Code.CLOCK_CHANGED}),
    Code.BUSY_AT_IDLE: frozenset({Code.BUSY_NEAR_IDLE, Code.RAMP_IN_WINDOW}),
    Code.COUNTER_DISAGREES: frozenset({Code.ABOVE_LIMIT, Code.BUSY_AT_IDLE, Code.BUSY_NEAR_IDLE}),
    Code.GENERATOR_BOUND: frozenset({Code.BUSY_NEAR_IDLE, Code.GENERATOR_LATE}),
}


def settle(reasons: Iterable[Reason]) -> Verdict:
    """Return the verdict: one reason a code, symptoms hidden by a cause that is there, ordered by level and rank."""
    worst: dict[Code, Reason] = {}
    for reason in reasons:
        held = worst.get(reason.code)
        if held is None or _weight(reason.level) > _weight(held.level):
            worst[reason.code] = reason
    hidden = {
        symptom
        for cause, reason in worst.items()
        for symptom in EXPLAINS.get(cause, frozenset())
        if symptom in worst and _weight(reason.level) >= _weight(worst[symptom].level)
    }
    rank = list(Code)
    kept = sorted(
        (reason for code, reason in worst.items() if code not in hidden),
        key=lambda reason: (-_weight(reason.level), rank.index(reason.code)),
    )
    status = kept[0].level.value if kept and kept[0].level is not Level.NOTE else "valid"
    return Verdict(status, tuple(kept))


def _weight(level: Level) -> int:
    return list(Level).index(level)
