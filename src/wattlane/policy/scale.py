"""How many replicas of a pool take requests, decided every so often from what the last period brought."""

from __future__ import annotations

import numpy as np


def parking(load: float, target: float, waiting: int, active: int, pressure: int, least: int, most: int) -> int:
    """Park the replicas that the load of the last period does not need, wake one more under pressure.

        max(⌈load / target⌉, active + 1 if more than `pressure` requests wait for each active replica)

    between `least` and `most`; `load` in replica-seconds a second. The rule of plain autoscalers (target utilisation
    and queue length); it has no published claim of its own, and a saving is that of idle replicas at rest.
    """
    count = int(np.ceil(load / target - 1e-9))
    if waiting > pressure * active:
        count = max(count, active + 1)
    return max(least, min(count, most))
