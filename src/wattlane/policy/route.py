"""Which replica serves a request.

`round_robin` is the default of every plain load balancer, and the baseline of Wilkins 2024 and of most controllers.
"""

from __future__ import annotations


def round_robin(position: int, replicas: int) -> int:
    """Return the replica of the request at `position` in order of release."""
    return position % replicas
