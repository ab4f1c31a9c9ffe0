"""Controllers of the clock and of the board's power limit.

Every rule that chooses among clocks has a `floor` beside its own margin: the lowest clock it may take, an index into
the grid. A floor at the top leaves the maximum alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wattlane.sim.capping import CapKind, Capping
from wattlane.sim.clocking import Clocking, ClockKind
from wattlane.sim.fleet_types import Fleet, Pool
from wattlane.study.suite.controllers.base import CLOCKS, LIMITS, NO_CLAIM, Controller
from wattlane.study.suite.site import Knobs, Site

FLOORS = (0.0, 3.0, 5.0, 7.0)
MARGINS = (0.9, 0.7, 0.5)
BUDGETS = (1.0, 0.85, 0.7, 0.55)  # shares of the boards' limits together


def clock(site: Site, value: float) -> int:
    """Return an index into the clock grid; values beyond the maximum are the maximum."""
    return min(int(value), len(site.clocks_hz) - 1)


def clocked(site: Site, at: Knobs, rule: Clocking, **changes: Any) -> Pool:
    """Return the replicas under a rule that may take the clocks from `floor` up."""
    return site.pool(at, laws=site.laws[clock(site, at["floor"]) :], clocking=rule, **changes)


def _fixed_clock(site: Site, at: Knobs) -> Fleet:
    index = clock(site, at["clock"])
    return Fleet((site.pool(at, prefill_clock=index, decode_clock=index),))


def _phase_clocks(site: Site, at: Knobs) -> Fleet:
    return Fleet((site.pool(at, decode_clock=clock(site, at["decode_clock"])),))


def _by(kind: ClockKind, site: Site, at: Knobs) -> Fleet:
    return Fleet((clocked(site, at, Clocking(kind, margin=at["margin"])),), slo=site.slo)


def _lowest(site: Site, at: Knobs) -> Fleet:
    return _by(ClockKind.LOWEST_FEASIBLE, site, at)


def _green(site: Site, at: Knobs) -> Fleet:
    return _by(ClockKind.GREEN, site, at)


def _miad(site: Site, at: Knobs) -> Fleet:
    return _by(ClockKind.MIAD, site, at)


def _energy_minimum(site: Site, at: Knobs) -> Fleet:
    return Fleet((clocked(site, at, Clocking(ClockKind.ENERGY_MINIMUM, memory_s=at["memory_s"])),), slo=site.slo)


def _power_cap(site: Site, at: Knobs) -> Fleet:
    watts = at["cap_share"] * site.case.gpu.tdp_w * site.case.num_gpus
    return Fleet((site.pool(at, power_cap_w=watts),))


def _budget_w(site: Site, at: Knobs) -> float:
    return at["budget_share"] * site.case.gpu.tdp_w * site.case.num_gpus * site.replicas


def _polca(site: Site, at: Knobs) -> Fleet:
    pool, half = site.pool(at), (site.replicas + 1) // 2
    sizes = (half, site.replicas - half)
    pools = tuple(replace(pool, replicas=size) for size in sizes if size > 0)
    return Fleet(pools, capping=Capping(CapKind.POLCA, _budget_w(site, at), low_pools=(len(pools) - 1,)))


def _tapas(site: Site, at: Knobs) -> Fleet:
    return Fleet((site.pool(at),), capping=Capping(CapKind.TAPAS, _budget_w(site, at)))


FIXED = Controller(
    "fixed-clock",
    "one lower clock",
    "Stojkovic et al. 2024 (arXiv 2403.20306)",
    "about 1.6 GHz gives the throughput of 2.0 GHz at under 80 % of the energy for most batch sizes",
    "2.0 GHz, Llama-2-70B on H100",
    "SM clock locked for all phases, tuned at each load",
    _fixed_clock,
    CLOCKS,
    {"clock": (8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0)},
)
PHASES = Controller(
    "phase-clocks",
    "lower clock in decode",
    "decode clocks on H200 (arXiv 2605.11999)",
    "up to 32 % less decode energy at little loss",
    "unlocked clock",
    "prompts at the maximum clock, iterations without prompts at a tuned one",
    _phase_clocks,
    CLOCKS,
    {"decode_clock": (8.0, 6.0, 4.0, 3.0, 2.0, 1.0, 0.0)},
)
LOWEST = Controller(
    "lowest-feasible",
    "lowest feasible clock",
    "VoltanaLLM (arXiv 2509.04827), throttLL'eM (arXiv 2408.05235)",
    "up to 36.3 % (VoltanaLLM), up to 43.8 % with autoscaling (throttLL'eM)",
    "static 1410 MHz on A100; Triton",
    "each iteration at the first clock that the law foresees to keep both targets, the maximum where none does",
    _lowest,
    CLOCKS,
    {"margin": MARGINS, "floor": FLOORS},
)
GREEN = Controller(
    "greenllm",
    "GreenLLM",
    "GreenLLM (arXiv 2508.16449)",
    "up to 34 %, below 3.5 points more violations",
    "NVIDIA default governor",
    "prompts: least energy that clears the backlog in time; decode: fast and slow loop on the tail of the gaps",
    _green,
    CLOCKS,
    {"margin": MARGINS, "floor": FLOORS},
)
MIAD = Controller(
    "freesh-miad",
    "FREESH clock",
    "FREESH (arXiv 2511.00807)",
    "28.6 % with routing over sites and request order",
    "its own sites without them",
    "clock by multiplicative increase under pressure, additive decrease otherwise; one site",
    _miad,
    CLOCKS,
    {"margin": MARGINS, "floor": FLOORS},
)
ENERGY_MINIMUM = Controller(
    "energy-minimum",
    "energy-minimum clock",
    "this project",
    "none published",
    "",
    "each iteration at the clock of least energy that keeps both targets with 99 % probability; round robin",
    _energy_minimum,
    CLOCKS,
    {"floor": FLOORS, "memory_s": (60.0, 0.0)},
)
POWER_CAP = Controller(
    "power-cap",
    "static power cap",
    "NVIDIA Dynamo power-cap DaemonSet (pull request 9682)",
    NO_CLAIM,
    "",
    "one limit for every board, tuned at each load",
    _power_cap,
    LIMITS,
    {"cap_share": (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)},
)
POLCA = Controller(
    "polca",
    "POLCA",
    "POLCA (arXiv 2308.12908)",
    "30 % more servers under one power budget; no energy claim",
    "the same budget without capping",
    "two thresholds of a tuned budget; half of the replicas are taken as low priority",
    _polca,
    CLOCKS,
    {"budget_share": BUDGETS},
)
TAPAS = Controller(
    "tapas",
    "TAPAS",
    "TAPAS (arXiv 2501.02600)",
    "maximum temperature −17 %, peak row power −23 %; no energy claim",
    "its own cluster without it",
    "clocks lowered where power nears a tuned budget or a board its temperature limit; no model variants",
    _tapas,
    CLOCKS,
    {"budget_share": BUDGETS},
)
ROWS = (FIXED, PHASES, LOWEST, GREEN, MIAD, ENERGY_MINIMUM, POWER_CAP, POLCA, TAPAS)
