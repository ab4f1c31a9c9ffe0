"""Which replica serves a request.

`round_robin` is the default of every plain load balancer, and the baseline of Wilkins 2024 and of most controllers.
`least_loaded` is join the shortest queue, counting requests.
"""

from __future__ import annotations

import numpy as np


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
