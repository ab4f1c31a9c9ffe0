"""wattlane's own controller and the parts it is made of: routing that fills replicas one after the other, parking of
those that are left empty, and the energy-minimum clock."""

from __future__ import annotations

from dataclasses import replace

from wattlane.sim.clocking import Clocking, ClockKind
from wattlane.sim.fleet_types import Fleet, Pool, Routing
from wattlane.study.suite.controllers.base import CLOCKS, PARKING, Controller
from wattlane.study.suite.controllers.clocks import clocked
from wattlane.study.suite.site import Knobs, Site

MARGINS = (0.8, 0.6, 0.5, 0.4)
AFTER_S = (60.0, 20.0, 200.0)
AWAKE = (4.0, 1.0, 2.0, 3.0)  # tuned from all, since a wake that comes too late hides what else is worth turning
FLOORS = (0.0, 3.0, 5.0, 8.0)
MARGIN = 0.006  # parking makes seeds differ: more is left to the target than others are asked to leave
MEMORY_S = (60.0, 0.0)  # over which the clock sees how crowded a replica is; 0 prices time as rest


def _pools(site: Site, at: Knobs, pool: Pool) -> tuple[Pool, ...]:
    """Return `awake` replicas that are never parked, and the others, which are after a while without work."""
    awake = min(int(at["awake"]), site.replicas)
    parts = (replace(pool, replicas=awake), replace(pool, rests=(site.parked(at["after_s"]),)))
    return parts[:1] if awake == site.replicas else (parts[0], replace(parts[1], replicas=site.replicas - awake))


def _fleet(site: Site, at: Knobs, pools: tuple[Pool, ...]) -> Fleet:
    return Fleet(pools, routing=Routing.WATTLANE, routing_margin=at["routing_margin"], slo=site.slo)


def _clocking(at: Knobs) -> Clocking:
    return Clocking(ClockKind.ENERGY_MINIMUM, memory_s=at["memory_s"])


def _routing(site: Site, at: Knobs) -> Fleet:
    return _fleet(site, at, (site.pool(at),))


def _free(site: Site, at: Knobs) -> Fleet:
    return _fleet(site, at, _pools(site, at, site.pool(at)))


def _ours(site: Site, at: Knobs) -> Fleet:
    return _fleet(site, at, _pools(site, at, clocked(site, at, _clocking(at))))


def _unparked(site: Site, at: Knobs) -> Fleet:
    return _fleet(site, at, (clocked(site, at, _clocking(at)),))


ROUTING = Controller(
    "wattlane-routing",
    "wattlane's routing alone",
    "this project",
    "none published",
    "",
    "replicas filled one after the other as far as the SLO is foreseen to hold; maximum clock, nothing parked",
    _routing,
    "",
    {"routing_margin": MARGINS},
)
FREE = Controller(
    "wattlane-unclocked",
    "wattlane without clocks",
    "this project",
    "none published",
    "",
    "its routing, and empty replicas parked after a tuned time, of which some never are; maximum clock",
    _free,
    PARKING,
    {"routing_margin": MARGINS, "awake": AWAKE, "after_s": AFTER_S},
    margin=MARGIN,
    wary=True,
)
UNPARKED = Controller(
    "wattlane-unparked",
    "wattlane without parking",
    "this project",
    "none published",
    "",
    "its routing and its clock; nothing parked",
    _unparked,
    CLOCKS,
    {"routing_margin": MARGINS, "floor": FLOORS, "memory_s": MEMORY_S},
    margin=MARGIN,
)
OURS = Controller(
    "wattlane",
    "wattlane",
    "this project",
    "none published",
    "",
    "its routing, parking and the energy-minimum clock",
    _ours,
    f"{CLOCKS}, {PARKING}",
    {"routing_margin": MARGINS, "floor": FLOORS, "memory_s": MEMORY_S, "awake": AWAKE, "after_s": AFTER_S},
    margin=MARGIN,
    wary=True,
)
ROWS = (ROUTING, FREE, UNPARKED, OURS)
