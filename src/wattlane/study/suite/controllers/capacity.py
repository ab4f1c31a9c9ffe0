"""Controllers of how many replicas are awake. Periods of minutes are compressed with the arrivals, wakes are not."""

from __future__ import annotations

from wattlane.sim.clocking import Clocking, ClockKind
from wattlane.sim.fleet_types import Fleet, Routing, Scaling, ScalingKind
from wattlane.study.suite.controllers.base import CLOCKS, NO_CLAIM, PARKING, Controller
from wattlane.study.suite.controllers.clocks import FLOORS, clocked
from wattlane.study.suite.site import Knobs, Site

AUTOSCALER_S, DYNAMO_S = 60.0, 300.0
EMPTY_S = 10.0  # without work until a replica is parked


def _sleep(site: Site, at: Knobs) -> Fleet:
    return Fleet((site.pool(at, rests=(site.parked(at["after_s"]),)),), routing=Routing.LEAST_LOADED)


def _autoscaler(site: Site, at: Knobs) -> Fleet:
    pool = site.pool(at, rests=(site.parked(EMPTY_S),))
    scaling = Scaling(period_s=AUTOSCALER_S / site.pace, target=at["target"], least=int(at["least"]))
    return Fleet((pool,), routing=Routing.LEAST_LOADED, scaling=scaling, slo=site.slo)


def _dynamo(site: Site, at: Knobs) -> Fleet:
    rule = Clocking(ClockKind.LOWEST_FEASIBLE, margin=at["margin"])
    pool = clocked(site, at, rule, rests=(site.parked(EMPTY_S),))
    kind, period_s = ScalingKind.DYNAMO, DYNAMO_S / site.pace
    scaling = Scaling(kind, period_s=period_s, target=at["target"], least=int(at["least"]))
    return Fleet((pool,), routing=Routing.LEAST_LOADED, scaling=scaling, slo=site.slo)


SLEEP = Controller(
    "sleep",
    "sleep when idle",
    "vLLM sleep mode",
    NO_CLAIM,
    "",
    "least loaded; a replica is parked after a tuned time without work and woken by a request",
    _sleep,
    PARKING,
    {"after_s": (60.0, 10.0, 30.0, 120.0, 300.0)},
)
AUTOSCALER = Controller(
    "autoscaler",
    "autoscaler",
    "target utilisation, as of Kubernetes autoscalers",
    NO_CLAIM,
    "",
    "replicas by the load of the last minute over a tuned utilisation, one more where requests wait; others parked",
    _autoscaler,
    PARKING,
    {"target": (0.8, 0.6, 0.4), "least": (1.0, 2.0, 3.0)},
)
DYNAMO = Controller(
    "dynamollm",
    "DynamoLLM",
    "DynamoLLM (arXiv 2408.00741)",
    "53 %; by load 51, 40 and 23.4 % at low, medium and high",
    "one pool at the maximum clock",
    "replicas every five minutes with hysteresis, others parked; lowest feasible clock; one class, one parallelism",
    _dynamo,
    f"{CLOCKS}, {PARKING}",
    {"target": (0.8, 0.6, 0.4), "least": (1.0, 2.0, 3.0), "margin": (0.9, 0.5), "floor": FLOORS},
)
ROWS = (SLEEP, AUTOSCALER, DYNAMO)
