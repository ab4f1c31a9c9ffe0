"""Which model a request goes to when it arrives (Wilkins 2024, Algorithms 1 and 2), and the wait it finds there.

    Algorithm 1   argmin_k  running[k] + ζ·ê_k − (1 − ζ)·â_k
    Algorithm 2   the same + 0.1·(requests waiting for k)

`running` is the cost that target k has gathered so far; the published results can only be had with a running cost that
is the same for all targets, so its weight is a parameter, and 0 gives them.
"""

from __future__ import annotations

import numpy as np

QUEUE_WEIGHT = 0.1


def cheapest(cost: np.ndarray, running: np.ndarray, running_weight: float) -> int:
    """Return the target of Algorithm 1: `cost` (K,) is ζ·ê − (1 − ζ)·â of the request on each."""
    best = 0
    for k in range(1, cost.size):
        if cost[k] + running_weight * running[k] < cost[best] + running_weight * running[best]:
            best = k
    return best


def queue_aware(
    cost: np.ndarray, running: np.ndarray, running_weight: float, waiting: np.ndarray, queue_weight: float
) -> int:
    """Return the target of Algorithm 2: `waiting` (K,) counts the requests that wait for each."""
    best = 0
    least = cost[0] + running_weight * running[0] + queue_weight * waiting[0]
    for k in range(1, cost.size):
        value = cost[k] + running_weight * running[k] + queue_weight * waiting[k]
        if value < least:
            best, least = k, value
    return best


def md1_wait_s(rate_rps: float, service_s: float) -> float:
    """Return the mean wait of an M/D/1 queue, λ·s²/(2·(1 − λ·s)); infinite where λ·s is 1 or more."""
    load = rate_rps * service_s
    if load >= 1.0:
        return np.inf
    return rate_rps * service_s * service_s / (2.0 * (1.0 - load))
