"""Which replica serves a request: every rule takes columns with one value a replica and returns a position.

`round_robin` is the default of every plain load balancer, and the baseline of Wilkins 2024 and of most controllers.
`least_loaded` is join the shortest queue, counting requests. The others ask what the law foresees for the request on
each replica (`wattlane.policy.foresee`): `fits` says where token gap and time to first token stay within the SLO.
"""

from __future__ import annotations

import numpy as np

SAME = 1e-6  # joules that differ by less are equal
CLOSE = 0.25  # marginal joules that differ by less are those of a replica of the same kind


def round_robin(position: int, replicas: int) -> int:
    """Return the replica of the request at `position` in order of release."""
    return position % replicas


def least_loaded(requests: np.ndarray) -> int:
    """Return the position of the fewest requests, running and waiting; the first of equals."""
    best = 0
    for i in range(1, requests.size):
        if requests[i] < requests[best]:
            best = i
    return best


def most_loaded(requests: np.ndarray, fits: np.ndarray) -> int:
    """Return the most requests among those that fit, the first of equals; where none fits, −1 for the least loaded.

    PolyServe (arXiv 2507.17769): the most loaded server that still meets the SLO, so that others are left empty.
    Published: 1.23 times the goodput, 92.5 % of the optimum; no claim of energy.
    """
    best = -1
    for i in range(requests.size):
        if fits[i] and (best < 0 or requests[i] > requests[best]):
            best = i
    return best


def least_energy(joules: np.ndarray, fits: np.ndarray) -> int:
    """Return the least marginal joules among those that fit, the first of equals; where none fits, −1.

    The greedy form of the assignment by energy of Wilkins 2024 (arXiv 2407.04014), with the batch that runs taken into
    account; no claim was published for it.
    """
    best = -1
    for i in range(joules.size):
        if fits[i] and (best < 0 or joules[i] < joules[best] * (1.0 - SAME)):
            best = i
    return best


def prefix_aware(hits: np.ndarray, requests: np.ndarray, balance: int) -> int:
    """Return the longest resident prefix, of equals the fewest requests; −1 where load is out of `balance`.

    The rule of SGLang's cache-aware router (Zheng et al. 2024, arXiv 2312.07104; sglang v0.4: up to 1.9 times the
    throughput and 3.8 times the hit rate of round robin on eight replicas): beyond a difference of `balance` requests
    between the most and the least loaded the shortest queue is taken instead.
    """
    least = most = requests[0]
    best = 0
    for i in range(1, hits.size):
        least, most = min(least, requests[i]), max(most, requests[i])
        if hits[i] > hits[best] or (hits[i] == hits[best] and requests[i] < requests[best]):
            best = i
    return -1 if most - least > balance else best


def wattlane(joules: np.ndarray, requests: np.ndarray, fits: np.ndarray, awake: np.ndarray, wait_s: np.ndarray) -> int:
    """Return where a request costs least without opening a replica that is not needed.

    Among those that fit, a replica that has work goes before one that idles, and that before one at rest, which is not
    woken while another one fits. Of these the most requests wins, the first of equals, among those whose marginal
    joules are within `CLOSE` of the least: equal replicas are filled one after the other, so that the rest run empty
    and the cost of an iteration is shared by many, while a dearer kind waits for the cheaper one to be full. Where
    none fits, the first token that is soonest. `fits` is asked with a margin to the SLO. The project's own rule.
    """
    rank, least_j = 3, np.inf
    for i in range(joules.size):
        own = 0 if requests[i] > 0 else (1 if awake[i] else 2)
        if fits[i] and (own < rank or (own == rank and joules[i] < least_j)):
            rank, least_j = own, joules[i]
    best = -1
    for i in range(joules.size):
        own = 0 if requests[i] > 0 else (1 if awake[i] else 2)
        close = fits[i] and own == rank and joules[i] <= least_j + CLOSE * abs(least_j)
        if close and (best < 0 or requests[i] > requests[best]):
            best = i
    if best < 0:
        best = 0
        for i in range(1, joules.size):
            if wait_s[i] < wait_s[best]:
                best = i
    return best
