"""Controllers that touch neither clocks nor power: the defaults, routing, and when requests are let through."""

from __future__ import annotations

from collections.abc import Callable

from wattlane.sim.fleet_types import EngineSettings, Fleet, Order, Release, ReleaseKind, Routing
from wattlane.study.suite.controllers.base import NO_CLAIM, Controller
from wattlane.study.suite.site import Knobs, Site

PATIENCE_S = 0.5  # after which a request goes before all younger ones
SLO_SHARES = (0.8, 1.0, 0.6, 0.4)  # of the targets, which a router is told to keep


def _default(site: Site, at: Knobs) -> Fleet:
    return Fleet((site.pool(at),))


def _least_loaded(site: Site, at: Knobs) -> Fleet:
    return Fleet((site.pool(at),), routing=Routing.LEAST_LOADED)


def _most_loaded(site: Site, at: Knobs) -> Fleet:
    return Fleet((site.pool(at),), routing=Routing.MOST_LOADED, slo=site.tighter(at["slo_share"]))


def _least_energy(site: Site, at: Knobs) -> Fleet:
    return Fleet((site.pool(at),), routing=Routing.LEAST_ENERGY, slo=site.tighter(at["slo_share"]))


def _slack_aware(site: Site, at: Knobs) -> Fleet:
    return Fleet((site.pool(at),), release=Release(ReleaseKind.SLACK_AWARE, margin=at["margin"]), slo=site.slo)


def _ordered(order: Order) -> Callable[[Site, Knobs], Fleet]:
    def fleet(site: Site, at: Knobs) -> Fleet:
        return Fleet((site.pool(at, EngineSettings(order=order, patience_s=PATIENCE_S)),))

    return fleet


def _windowed(site: Site, at: Knobs) -> Fleet:
    return Fleet((site.pool(at),), release=Release.windows(at["window_s"]))


VLLM = Controller(
    "vllm",
    "vLLM as it comes",
    "vLLM 0.11 defaults (arg_utils.py)",
    NO_CLAIM,
    "",
    "maximum clock, round robin, default batch limits; the only one that is not tuned",
    _default,
    tuned=False,
)
DEFAULT = Controller(
    "default",
    "default, tuned batch",
    "vLLM 0.11 with tuned limits",
    NO_CLAIM,
    "",
    "maximum clock, round robin; savings are against this one",
    _default,
)
LEAST_LOADED = Controller(
    "least-loaded",
    "least loaded",
    "join the shortest queue; the rule of most gateways",
    NO_CLAIM,
    "",
    "each request to the replica with the fewest requests",
    _least_loaded,
)
MOST_LOADED = Controller(
    "polyserve",
    "PolyServe routing",
    "PolyServe (arXiv 2507.17769)",
    "1.23 times the goodput, 92.5 % of the optimum; no energy claim",
    "routers that do not look at the SLO",
    "the most loaded replica that is foreseen to keep the SLO; one class of requests",
    _most_loaded,
    knobs={"slo_share": SLO_SHARES},
)
LEAST_ENERGY = Controller(
    "least-energy",
    "least marginal energy",
    "Wilkins et al. 2024 (arXiv 2407.04014), the greedy form online",
    "no claim for the online form",
    "",
    "the replica that needs least more joules by the law and is foreseen to keep the SLO",
    _least_energy,
    knobs={"slo_share": SLO_SHARES},
)
WINDOWED = Controller(
    "windowed",
    "release window",
    "arrival shaping (Delavande et al. 2026, arXiv 2601.22362)",
    "up to 100 times less energy a request",
    "fp32 without batching",
    "requests held to the end of a window, tuned at each load",
    _windowed,
    knobs={"window_s": (0.05, 0.1, 0.2, 0.4)},
)
SLACK_AWARE = Controller(
    "slack-aware",
    "slack-aware release",
    "this project, after Delavande et al. 2026",
    "none published",
    "",
    "held within the slack of the first token, where nobody runs and another request is expected to join",
    _slack_aware,
    knobs={"margin": (0.8, 0.4)},
)
BUCKETS = Controller(
    "bucketserve",
    "BucketServe order",
    "BucketServe (arXiv 2507.17120)",
    "3.58 times the throughput; no energy claim",
    "UELLM",
    "prompts of one length bucket next to each other; continuous batching has no padding to save",
    _ordered(Order.LENGTH_BUCKETS),
)
ALIGNED = Controller(
    "alignedserve",
    "AlignedServe order",
    "AlignedServe (arXiv 2605.23389)",
    "1.98 times the decode throughput; no energy claim",
    "an attention kernel that waits for the longest request",
    "who is nearest in KV length to those that decode comes in next",
    _ordered(Order.KV_ALIGNED),
)
ROWS = (VLLM, DEFAULT, LEAST_LOADED, MOST_LOADED, LEAST_ENERGY, WINDOWED, SLACK_AWARE, BUCKETS, ALIGNED)
