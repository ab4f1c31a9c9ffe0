"""The node model: watts of a whole server at the wall, from the watts of its GPUs and facts about the rest.

    host  = cpu_idle + cpu_use·(cpu_busy − cpu_idle) + dram + nic + board + disk
    inner = GPUs + host,     load = (inner − idle inner) / (full inner − idle inner)
    dc    = inner + fan_floor + (fan_full − fan_floor)·load³           fan affinity laws: power as the cube of the flow
    wall  = dc / efficiency(dc / rating of the supplies)

Everything is modelled. A deployment is charged its share of servers that are full of deployments of its kind: its GPUs
over all GPUs of a server. `alone_w` is the wall power of the servers it needs where the other GPUs idle.

The interval crosses the range of each uncertain fact from end to end (uniform: width ÷ √12), adds the GPUs' own
standard deviation, and is 95 % of a normal in watts, never below the GPUs' own watts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wattlane.core.facts.gpus import Gpu
from wattlane.core.facts.nodes import Node
from wattlane.core.types import Boundary

Z95 = 1.959963984540054
SOURCE = "server power beside the GPUs rests on priors from component ratings: see wattlane show node"
SCOPES = (Boundary.GPU.value, Boundary.WALL.value)

Floats = NDArray[np.float64]


class Wall(NamedTuple):
    """Watts at the wall of a deployment: its share of full servers with an interval, and of servers it has alone.

    `facts_log_sd` is the part of the spread, in logarithms, that comes from the server's facts.
    """

    mean_w: Floats
    lo_w: Floats
    hi_w: Floats
    alone_w: Floats
    facts_log_sd: Floats


def server_w(node: Node, board: Gpu, gpus_w: ArrayLike, facts: Mapping[str, float] | None = None) -> Floats:
    """Return the wall power of one server whose GPUs together draw `gpus_w`; `facts` replace the node's own."""
    f = {**node.values, **(facts or {})}
    gpus = np.asarray(gpus_w, dtype=np.float64)
    host = f["cpu_idle_w"] + f["cpu_use"] * (f["cpu_busy_w"] - f["cpu_idle_w"])
    inner = gpus + host + f["dram_w"] + f["nic_w"] + f["board_w"] + f["disk_w"]
    idle_w, full_w = f["gpus_per_server"] * board.idle_w, f["gpus_per_server"] * board.tdp_w
    load = np.clip((gpus - idle_w) / (full_w - idle_w), 0.0, 1.0)
    dc = inner + f["fan_floor_w"] + (f["fan_full_w"] - f["fan_floor_w"]) * load**3
    efficiency = np.interp(dc / f["psu_rated_w"], node.psu_load, node.psu_efficiency) + f["psu_shift"]
    return dc / efficiency


def wall(node: Node, board: Gpu, gpus: ArrayLike, mean_w: ArrayLike, lo_w: ArrayLike, hi_w: ArrayLike) -> Wall:
    """Return watts at the wall of deployments on `gpus` GPUs that draw `mean_w` together, with 95 % from lo to hi.

    All arguments after `board` have the shape of the result.
    """
    n, mean, lo, hi = (np.asarray(values, dtype=np.float64) for values in (gpus, mean_w, lo_w, hi_w))
    size = float(node.gpus_per_server)
    share = n / size

    def charged(watts: Floats, facts: Mapping[str, float] | None = None) -> Floats:
        return share * server_w(node, board, watts / share, facts)

    best = charged(mean)
    # the GPUs' interval is one of logarithms: its sides differ
    above, below = (charged(hi) - best) / Z95, (best - charged(lo)) / Z95
    squares = np.zeros_like(best)
    for name, (low, high) in node.ranges.items():
        squares += (charged(mean, {name: high}) - charged(mean, {name: low})) ** 2 / 12.0
    servers = np.ceil(share)
    idle = servers * size - n
    alone = servers * server_w(node, board, (mean + idle * board.idle_w) / servers)
    least = np.maximum(best - Z95 * np.sqrt(squares + below**2), lo)
    return Wall(best, least, best + Z95 * np.sqrt(squares + above**2), alone, np.sqrt(squares) / best)


def wall_energy(found: Wall, power_w: Floats, energy_j: tuple[Floats, Floats, Floats]) -> tuple[Floats, Floats, Floats]:
    """Return (mean, lo, hi) of joules at the wall for joules of the GPUs (mean, lo, hi) at `power_w`."""
    mean, lo, hi = energy_j
    best = mean * found.mean_w / power_w
    facts = Z95 * found.facts_log_sd
    down, up = (np.exp(np.sqrt(np.log(mean / lo) ** 2 + facts**2)), np.exp(np.sqrt(np.log(hi / mean) ** 2 + facts**2)))
    return best, best / down, best * up
