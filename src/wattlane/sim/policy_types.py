"""Which online policies a fleet uses, and their settings. See docs/concepts/policies.md."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from wattlane.core.errors import InputError


class Order(StrEnum):
    """Who of those that wait comes in next."""

    FCFS = "fcfs"
    LENGTH_BUCKETS = "length-buckets"
    KV_ALIGNED = "kv-aligned"
    LEAST_LAXITY = "least-laxity"


class Routing(StrEnum):
    """How a replica is chosen."""

    ROUND_ROBIN = "round-robin"
    LEAST_LOADED = "least-loaded"
    MOST_LOADED = "most-loaded"
    LEAST_ENERGY = "least-energy"
    PREFIX_AWARE = "prefix-aware"
    WATTLANE = "wattlane"


FORESIGHTED = (Routing.MOST_LOADED, Routing.LEAST_ENERGY, Routing.WATTLANE)  # ask whether a request keeps the SLO


class ReleaseKind(StrEnum):
    """When requests are let through to the fleet."""

    IMMEDIATE = "immediate"
    WINDOWED = "windowed"
    SPACED = "spaced"
    SLACK_AWARE = "slack-aware"
    DEADLINE_AWARE = "deadline-aware"
    CARBON = "carbon"


@dataclass(frozen=True, slots=True)
class Release:
    """When requests are let through. See docs/concepts/policies.md.

    `windowed` holds to multiples of `window_s`, `spaced` keeps `spacing_s` between two. `slack-aware` uses `margin` of
    the TTFT target; `deadline-aware` and `carbon` leave `margin_s` before the deadline. The series of carbon intensity
    has a value an hour from `series_start_s`, seconds of the workload, and repeats.
    """

    kind: ReleaseKind = ReleaseKind.IMMEDIATE
    window_s: float = 0.0
    spacing_s: float = 0.0
    margin: float = 0.8
    margin_s: float = 0.0
    carbon_g_per_kwh: tuple[float, ...] = ()
    series_start_s: float = 0.0

    def __post_init__(self) -> None:
        problems = []
        for name in ("window_s", "spacing_s", "margin_s"):
            if not 0 <= getattr(self, name) < math.inf:
                problems.append(f"{name} is {getattr(self, name)}; expected finite seconds of at least 0")
        if not 0 < self.margin <= 1:
            problems.append(f"margin is {self.margin}; expected a share in (0, 1]")
        needed = {ReleaseKind.WINDOWED: self.window_s, ReleaseKind.SPACED: self.spacing_s}
        if needed.get(self.kind) == 0:
            name = "window_s" if self.kind is ReleaseKind.WINDOWED else "spacing_s"
            problems.append(f"kind is {self.kind.value} and {name} is 0; expected seconds above 0")
        if self.kind is ReleaseKind.CARBON and not self.carbon_g_per_kwh:
            problems.append("kind is carbon without carbon_g_per_kwh; expected gCO2e/kWh of each hour")
        if not all(0 <= value < math.inf for value in self.carbon_g_per_kwh):
            problems.append(f"carbon_g_per_kwh is {list(self.carbon_g_per_kwh)}; expected finite numbers of at least 0")
        if problems:
            raise InputError.gathered("release", problems)

    @classmethod
    def windows(cls, window_s: float) -> Release:
        """Return windows of `window_s`; of 0 seconds nobody is held."""
        return cls(ReleaseKind.WINDOWED, window_s=window_s) if window_s > 0 else cls()


class ScalingKind(StrEnum):
    """What decides how many replicas of a pool take requests."""

    PARKING = "parking"
    DYNAMO = "dynamo"


@dataclass(frozen=True, slots=True)
class Scaling:
    """How many replicas of each pool take requests, decided every `period_s`. See docs/concepts/policies.md.

    A replica is to be busy for at most `target` of the time; `pressure` requests may wait for each active replica, and
    `least` replicas stay active. `dynamo` gives replicas up only where they would be busy for less than
    (1 − `hysteresis`) of that, `patience` periods in a row.
    """

    kind: ScalingKind = ScalingKind.PARKING
    period_s: float = 60.0
    target: float = 0.8
    pressure: int = 4
    least: int = 1
    hysteresis: float = 0.2
    patience: int = 3

    def __post_init__(self) -> None:
        problems = []
        if not 0 < self.period_s < math.inf:
            problems.append(f"period_s is {self.period_s}; expected finite seconds above 0")
        if not self.target > 0:
            problems.append(f"target is {self.target}; expected a share above 0")
        if not 0 <= self.hysteresis < 1:
            problems.append(f"hysteresis is {self.hysteresis}; expected a share in [0, 1)")
        for name, least in (("pressure", 0), ("least", 1), ("patience", 1)):
            if getattr(self, name) < least:
                problems.append(f"{name} is {getattr(self, name)}; expected an integer of at least {least}")
        if problems:
            raise InputError.gathered("scaling", problems)
