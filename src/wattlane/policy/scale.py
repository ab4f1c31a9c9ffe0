"""How many replicas of a pool take requests, decided every so often from what the last period brought.

Loads are replica-seconds a second of a replica as full as its SLO allows (`wattlane.policy.foresee.replica_seconds`).
"""

from __future__ import annotations

import numpy as np


def parking(load: float, target: float, waiting: int, active: int, pressure: int, least: int, most: int) -> int:
    """Park the replicas that the load of the last period does not need, wake one more under pressure.

        max(⌈load / target⌉, active + 1 if more than `pressure` requests wait for each active replica)

    between `least` and `most`. The rule of plain autoscalers (target utilisation and queue length); it has no
    published claim of its own, and a saving is that of idle replicas at rest.
    """
    count = int(np.ceil(load / target - 1e-9))
    if waiting > pressure * active:
        count = max(count, active + 1)
    return max(least, min(count, most))


def band(load: float, before: float, target: float, hysteresis: float) -> tuple[int, int]:
    """Return (least, most) replicas that the load foreseen for the next period leaves as they are.

    foreseen = load + max(load − load of the period before, 0)             a rise goes on, a fall does not
    least = ⌈foreseen / target⌉      most = ⌈foreseen / (target · (1 − hysteresis))⌉
    """
    foreseen = load + max(load - before, 0.0)
    least = int(np.ceil(foreseen / target - 1e-9))
    return least, int(np.ceil(foreseen / (target * (1.0 - hysteresis)) - 1e-9))


def dynamo(low: int, high: int, distress: bool, calm: int, patience: int, active: int, least: int, most: int) -> int:
    """Return the instances of DynamoLLM's slowest time scale (arXiv 2408.00741), within the `band` of the load.

    Fewer than `low` are raised to it at once, more than `high` are given up after `patience` calm periods in a row. In
    `distress` (requests wait, or more came late than the SLO lets) one more is taken. Its middle time scale,
    re-sharding, is left out: a pool keeps its parallelism. Its fastest is the clock rule of the pool. Published, with
    all three and per-class pools: 53 % less energy, 51, 40 and 23 % at low, medium and high load; 40 % of lengths
    mispredicted cost 13 % more energy.
    """
    count = active
    if low > active:
        count = low
    elif high < active and calm >= patience:
        count = high
    if distress:
        count = max(count, active + 1)
    return max(least, min(count, most))
