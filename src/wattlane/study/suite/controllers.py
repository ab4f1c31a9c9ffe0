"""Every controller of the comparison: its source, what it claims and against what, and how its fleet is made here.

A controller is one row. All are tuned in the batch limits, some in a knob of their own as well. `rule` says what is
replayed under the name; a claim is the one of the source, for its own engine, model and baseline, and none of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from wattlane.sim.fleet_types import Fleet, Release, Routing
from wattlane.study.suite.site import Knobs, Site

CLOCKS, LIMITS = "clocks", "power limits"
NO_CLAIM = "no energy claim"


@dataclass(frozen=True)
class Controller:
    """One row. `privileges` names what needs administrator rights on the node; empty if nothing does.

    `knobs` maps own knobs to their values, tuned from the first; a value of -1 stands for the last of the clock grid.
    """

    name: str
    title: str
    source: str
    claim: str
    against: str
    rule: str
    fleet: Callable[[Site, Knobs], Fleet]
    privileges: str = ""
    knobs: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    tuned: bool = True

    def described(self) -> dict[str, str]:
        """Return what a reader needs to know of it, plain values."""
        names = ("name", "title", "source", "claim", "against", "rule", "privileges")
        return {name: getattr(self, name) for name in names}


GRID = (-1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)


def clock(site: Site, value: float) -> int:
    """Return an index into the clock grid; -1 is the maximum, and values beyond it are too."""
    last = len(site.clocks_hz) - 1
    return last if value < 0 else min(int(value), last)


def _default(site: Site, at: Knobs) -> Fleet:
    return Fleet((site.pool(at),))


def _fixed_clock(site: Site, at: Knobs) -> Fleet:
    index = clock(site, at["clock"])
    return Fleet((site.pool(at, prefill_clock=index, decode_clock=index),))


def _phase_clocks(site: Site, at: Knobs) -> Fleet:
    return Fleet((site.pool(at, decode_clock=clock(site, at["decode_clock"])),))


def _power_cap(site: Site, at: Knobs) -> Fleet:
    watts = at["cap_share"] * site.case.gpu.tdp_w * site.case.num_gpus
    return Fleet((site.pool(at, power_cap_w=watts),))


def _windowed(site: Site, at: Knobs) -> Fleet:
    return Fleet((site.pool(at),), release=Release.windows(at["window_s"]))


def _least_loaded(site: Site, at: Knobs) -> Fleet:
    return Fleet((site.pool(at),), routing=Routing.LEAST_LOADED)


def _sleep(site: Site, at: Knobs) -> Fleet:
    return Fleet((site.pool(at, rests=(site.parked(at["after_s"]),)),), routing=Routing.LEAST_LOADED)


def _ours(site: Site, at: Knobs) -> Fleet:
    pool = site.pool(at, decode_clock=clock(site, at["decode_clock"]), rests=(site.parked(60.0),))
    return Fleet((pool,), routing=Routing.LEAST_LOADED)


DEFAULT, LOWEST, OURS, UNPRIVILEGED = "default", "fixed-clock", "wattlane", "least-loaded"
CONTROLLERS: tuple[Controller, ...] = (
    Controller(
        "vllm",
        "vLLM as it comes",
        "vLLM 0.11 defaults (arg_utils.py)",
        NO_CLAIM,
        "",
        "maximum clock, round robin, default batch limits; the only one that is not tuned",
        _default,
        tuned=False,
    ),
    Controller(
        DEFAULT,
        "default, tuned batch",
        "vLLM 0.11 with tuned limits",
        NO_CLAIM,
        "",
        "maximum clock, round robin; savings are against this one",
        _default,
    ),
    Controller(
        "least-loaded",
        "least loaded",
        "join the shortest queue; the rule of most gateways",
        NO_CLAIM,
        "",
        "each request to the replica with the fewest requests",
        _least_loaded,
    ),
    Controller(
        "fixed-clock",
        "one lower clock",
        "Stojkovic et al. 2024 (arXiv 2403.20306)",
        "1.6 GHz gives the throughput of 2.0 GHz at under 80 % of the energy for most batch sizes",
        "2.0 GHz, one replica, Llama-2-70B on H100",
        "SM clock locked for all phases, tuned at each load",
        _fixed_clock,
        CLOCKS,
        {"clock": GRID},
    ),
    Controller(
        "phase-clocks",
        "lower clock in decode",
        "decode clocks on H200 (arXiv 2605.11999)",
        "up to 32 % less decode energy at little loss",
        "unlocked clock",
        "prompts at the maximum clock, iterations without prompts at a tuned one",
        _phase_clocks,
        CLOCKS,
        {"decode_clock": GRID},
    ),
    Controller(
        "power-cap",
        "static power cap",
        "NVIDIA Dynamo power-cap DaemonSet (pull request 9682)",
        NO_CLAIM,
        "",
        "one limit for every board, tuned at each load",
        _power_cap,
        LIMITS,
        {"cap_share": (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)},
    ),
    Controller(
        "windowed",
        "release window",
        "arrival shaping (Delavande et al. 2026, arXiv 2601.22362)",
        "up to 100 times less energy a request",
        "fp32 without batching",
        "requests held to the end of a window, tuned at each load",
        _windowed,
        "",
        {"window_s": (0.0, 0.05, 0.1, 0.2, 0.4)},
    ),
    Controller(
        "sleep",
        "sleep when idle",
        "vLLM sleep mode, Dynamo scale to zero",
        NO_CLAIM,
        "",
        "least loaded; a replica is parked after a tuned time without work and woken by a request",
        _sleep,
        "",
        {"after_s": (60.0, 10.0, 30.0, 120.0)},
    ),
    Controller(
        OURS,
        "wattlane",
        "this project",
        "",
        "",
        "least loaded, lower clock in decode, parked after a minute",
        _ours,
        CLOCKS,
        {"decode_clock": GRID},
    ),
)
ABLATION: tuple[tuple[str, str], ...] = (
    (DEFAULT, "default, tuned batch"),
    ("least-loaded", "+ routing"),
    ("sleep", "+ parking"),
    (OURS, "+ clock: wattlane"),
)
