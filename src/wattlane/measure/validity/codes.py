"""Reason codes: what was found, what was expected, what to do. A closed list; files and pages name runs by it.

Codes stand in order of rank: a cause comes before its symptoms.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    """What a reason does to a result."""

    NOTE = "note"
    WARNED = "warned"
    QUARANTINED = "quarantined"


class Code(StrEnum):
    """Why a result is not valid, or what to know before using it."""

    INTERRUPTED = "interrupted"
    ENGINE_ENDED = "engine_ended"
    FAILED_REQUESTS = "failed_requests"
    WRONG_DEVICE = "wrong_device"
    GPU_MISSING = "gpu_missing"
    IDLE_GPUS_SUMMED = "idle_gpus_summed"
    MIG_REPEATS = "mig_repeats"
    MODULE_SCOPE = "module_scope"
    STALE_SOURCE = "stale_source"
    MISSING_SAMPLES = "missing_samples"
    WRONG_UNIT = "wrong_unit"
    COUNTER_WRAP = "counter_wrap"
    COUNTER_RESET = "counter_reset"
    COUNTER_FROZEN = "counter_frozen"
    NONPOSITIVE_ENERGY = "nonpositive_energy"
    CONSTANT_VALUE = "constant_value"
    WINDOW_TOO_SHORT = "window_too_short"
    RAMP_IN_WINDOW = "ramp_in_window"
    AVERAGED_POWER = "averaged_power"
    THERMAL_THROTTLE = "thermal_throttle"
    POWER_THROTTLE = "power_throttle"
    CLOCK_CHANGED = "clock_changed"
    ABOVE_LIMIT = "above_limit"
    BUSY_AT_IDLE = "busy_at_idle"
    COUNTER_DISAGREES = "counter_disagrees"
    TOKEN_MISMATCH = "token_mismatch"
    GENERATOR_BOUND = "generator_bound"
    WALL_CLOCK_STEP = "wall_clock_step"
    BUSY_NEAR_IDLE = "busy_near_idle"
    WINDOW_WIDENED = "window_widened"
    PRECISION_UNCHECKED = "precision_unchecked"
    ENERGY_ABSENT = "energy_absent"
    ENERGY_MODELLED = "energy_modelled"
    ENERGY_SOURCE = "energy_source"
    PHASES_MODELLED = "phases_modelled"
    PHASES_OVERLAP = "phases_overlap"
    USAGE_MISSING = "usage_missing"
    GAPS_INCOMPLETE = "gaps_incomplete"
    SHORT_OUTPUTS = "short_outputs"
    GENERATOR_LATE = "generator_late"
    SOURCES_DISAGREE = "sources_disagree"
    ALIASING_PERIOD = "aliasing_period"
    ALIASING_COUNTER = "aliasing_counter"
    ALIASING_AVERAGE = "aliasing_average"
    DECODE_TOKENS = "decode_tokens"
    DECODE_NEGATIVE = "decode_negative"
    DECODE_NOT_SHOWN = "decode_not_shown"
    RANDOM_WEIGHTS = "random_weights"


class Rule(NamedTuple):
    """The worst level a code can reach, and its sentence in three parts."""

    level: Level
    found: str
    expected: str
    remedy: str


_BAD, _WARN, _NOTE = Level.QUARANTINED, Level.WARNED, Level.NOTE
RULES: dict[Code, Rule] = {
    Code.INTERRUPTED: Rule(
        _BAD, "the user stopped the run", "a run to its end", "run it again; what was served is kept"
    ),
    Code.ENGINE_ENDED: Rule(
        _BAD,
        "the engine ended during the run",
        "an engine that lives to the end",
        "read its last words, then run again",
    ),
    Code.FAILED_REQUESTS: Rule(
        _BAD,
        "more than 1 % of the requests did not complete",
        "at least 99 % success: failures cost energy and serve nobody",
        "lower the load or raise the time limit; never count failures as served",
    ),
    Code.WRONG_DEVICE: Rule(
        _BAD,
        "the metered device is not the one that works",
        "the UUID of the engine's device",
        "meter by UUID: CUDA and NVML count devices differently",
    ),
    Code.GPU_MISSING: Rule(
        _BAD,
        "devices that work are not metered",
        "one channel per working device",
        "add the missing UUIDs to the meter",
    ),
    Code.IDLE_GPUS_SUMMED: Rule(
        _BAD,
        "idle devices are in the sum",
        "only devices that work",
        "leave the idle UUIDs out, or report them as idle of the node",
    ),
    Code.MIG_REPEATS: Rule(
        _BAD,
        "MIG instances repeat the board's power",
        "one reading per board",
        "meter with MIG off, or give the board a single instance and count it once",
    ),
    Code.MODULE_SCOPE: Rule(
        _BAD,
        "the power is of the whole module, CPU and memory included",
        "the power of the GPU",
        "ask the field of GPU scope, or state the boundary as the module",
    ),
    Code.STALE_SOURCE: Rule(
        _BAD,
        "the source repeats old values; its true refresh is too slow for the window",
        "a window of at least 5 refreshes",
        "read the device itself, set the exporter's interval lower, or lengthen the window",
    ),
    Code.MISSING_SAMPLES: Rule(
        _BAD,
        "readings are missing inside the window",
        "no gap above 1 s (or 5 sampling periods) and under 5 % failed reads",
        "find what held the meter up; missing is not zero",
    ),
    Code.WRONG_UNIT: Rule(
        _BAD,
        "the values are off by a power of 1000 or by 3.6",
        "joules and watts",
        "check whether the source speaks mJ, uJ or kWh",
    ),
    Code.COUNTER_WRAP: Rule(
        _BAD,
        "the energy counter wrapped around",
        "a counter that only rises",
        "give the meter the counter's range and read more often than it wraps",
    ),
    Code.COUNTER_RESET: Rule(
        _BAD,
        "the energy counter fell back",
        "a counter that only rises",
        "look for a driver reload or device reset, then run again",
    ),
    Code.COUNTER_FROZEN: Rule(
        _BAD,
        "the energy counter stopped while power was drawn",
        "a counter that moves every tick",
        "read the counter from a fresh process, or integrate power instead",
    ),
    Code.NONPOSITIVE_ENERGY: Rule(
        _BAD,
        "busy work cost no energy, or less than none",
        "energy above 0",
        "check the sensor with wattlane doctor; absent is not 0",
    ),
    Code.CONSTANT_VALUE: Rule(
        _BAD,
        "the value never changes",
        "a sensor's value, which jitters",
        "treat it as modelled: it is an assumed constant times time",
    ),
    Code.WINDOW_TOO_SHORT: Rule(
        _BAD,
        "the window holds too few steps of the sensor",
        "at least 10 steps",
        "lengthen the window or repeat the work inside it",
    ),
    Code.RAMP_IN_WINDOW: Rule(
        _BAD,
        "load, warm-up, ramp or drain lies inside the window",
        "only the work that is divided by",
        "start the window after the warm-up and end it with the last completion",
    ),
    Code.AVERAGED_POWER: Rule(
        _BAD,
        "a running average was used as instant power",
        "instant power, or a window of at least 20 averaging times",
        "use the energy counter or the field of instant power, or lengthen the window",
    ),
    Code.THERMAL_THROTTLE: Rule(
        _BAD,
        "the card slowed down because it was hot",
        "no thermal slow-down in the window",
        "cool down between runs and check the fans",
    ),
    Code.POWER_THROTTLE: Rule(
        _BAD,
        "the power limit held the clock down",
        "the power limit of the factory, or a limit that was asked for",
        "restore the limit, or state it with the result",
    ),
    Code.CLOCK_CHANGED: Rule(
        _BAD,
        "the clock changed during the run",
        "one clock in the whole window",
        "fix the clock, look for another user of the card, or split the window",
    ),
    Code.ABOVE_LIMIT: Rule(
        _BAD,
        "mean power is above the power limit",
        "at most the limit plus 5 %",
        "lengthen the window and check the scope and unit of the source",
    ),
    Code.BUSY_AT_IDLE: Rule(
        _BAD,
        "a busy run drew idle power",
        "more than 1.1 times the idle power with a context",
        "check that the metered device is the one that works, and that requests succeeded",
    ),
    Code.COUNTER_DISAGREES: Rule(
        _BAD,
        "the energy counter and integrated power disagree",
        "agreement within 5 %",
        "state both; find out with wattlane doctor which of them lags",
    ),
    Code.TOKEN_MISMATCH: Rule(
        _BAD,
        "server and client count different tokens",
        "agreement within 1 %",
        "use the server's usage; check padding, special tokens and cached tokens",
    ),
    Code.GENERATOR_BOUND: Rule(
        _BAD,
        "the load generator set the pace",
        "at least 95 % of the offered rate sent, on under 90 % of a core",
        "run the client elsewhere, or lower the rate",
    ),
    Code.WALL_CLOCK_STEP: Rule(
        _WARN,
        "the wall clock was stepped during the run",
        "wall and monotonic clock in step",
        "join records by the monotonic clock; do not join this run by wall time",
    ),
    Code.BUSY_NEAR_IDLE: Rule(
        _WARN,
        "a busy run drew little more than idle power",
        "more than 1.3 times the idle power with a context",
        "check that the load reached the engine",
    ),
    Code.WINDOW_WIDENED: Rule(
        _NOTE, "how often the workload ran in the window", "the precision asked of the energy", "nothing"
    ),
    Code.PRECISION_UNCHECKED: Rule(
        _NOTE, "a precision was asked of an energy that is absent or modelled", "a sensor", "see wattlane doctor"
    ),
    Code.ENERGY_ABSENT: Rule(_NOTE, "no sensor saw the engine", "a sensor", "see wattlane doctor"),
    Code.ENERGY_MODELLED: Rule(
        _NOTE, "the energy rests on assumed watts", "a sensor", "do not compare it with measured energy"
    ),
    Code.ENERGY_SOURCE: Rule(_NOTE, "which source was used", "the best one that sees the engine", "nothing"),
    Code.PHASES_MODELLED: Rule(
        _NOTE,
        "the total is divided by time between the phases",
        "phases measured apart",
        "use a phase method that measures both",
    ),
    Code.PHASES_OVERLAP: Rule(
        _NOTE, "both phases were active together", "phases apart in time", "use the regression on designed load"
    ),
    Code.USAGE_MISSING: Rule(
        _NOTE, "responses came without usage", "token counts from the server", "ask the server for usage in streams"
    ),
    Code.GAPS_INCOMPLETE: Rule(
        _NOTE, "several tokens came in one chunk", "one chunk per token", "use the gaps as gaps between chunks"
    ),
    Code.SHORT_OUTPUTS: Rule(
        _NOTE, "outputs ended early", "the asked number of tokens", "have the server ignore the end token"
    ),
    Code.GENERATOR_LATE: Rule(
        _NOTE, "requests left late", "within 0.1 s of their time (p99)", "run the client elsewhere, or lower the rate"
    ),
    Code.SOURCES_DISAGREE: Rule(
        _NOTE,
        "counter and integrated power differ",
        "agreement within 5 %",
        "the energy is the counter's; both are kept",
    ),
    Code.ALIASING_PERIOD: Rule(
        _NOTE,
        "the load repeats in step with the power samples",
        "samples that fall on every part of the load",
        "vary the load's period; the interval holds the bound until then",
    ),
    Code.ALIASING_COUNTER: Rule(
        _NOTE,
        "power samples miss part of a load that the counter sees",
        "agreement within the samples' own spread",
        "use the counter; integrated power has the bound, and the counter has it for the ticks at the edges",
    ),
    Code.ALIASING_AVERAGE: Rule(
        _NOTE,
        "instant power averages to another value than the averaged field",
        "the same mean",
        "use the counter; integrated power has the bound, and the counter has it for the ticks at the edges",
    ),
    Code.DECODE_TOKENS: Rule(
        _NOTE, "decode covers one token fewer than the output", "the first token belongs to prefill", "divide by n - 1"
    ),
    Code.DECODE_NEGATIVE: Rule(
        _NOTE, "the difference of runs is below 0", "decode that costs energy", "repeat more or generate longer"
    ),
    Code.DECODE_NOT_SHOWN: Rule(
        _NOTE, "the interval of the difference holds 0", "an interval above 0", "repeat more or generate longer"
    ),
    Code.RANDOM_WEIGHTS: Rule(
        _NOTE, "the model has random weights", "trained weights for anything on accuracy", "use it for energy and time"
    ),
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One finding on one run; `detail` holds the figures."""

    code: Code
    detail: str
    level: Level = Level.QUARANTINED

    def __str__(self) -> str:
        rule = RULES[self.code]
        return f"{self.code.value}: {self.detail}; expected {rule.expected}; {rule.remedy}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The worst level among the reasons, and the reasons, worst first and causes before symptoms."""

    status: str
    reasons: tuple[Reason, ...]

    @property
    def quarantined(self) -> bool:
        """Whether the figures must not be used."""
        return self.status == Level.QUARANTINED.value

    @property
    def codes(self) -> tuple[Code, ...]:
        """The codes in order."""
        return tuple(reason.code for reason in self.reasons)
