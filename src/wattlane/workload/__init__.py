"""Floor 1, requests: traces in, arrival processes, length bins, statistics; always seeded."""

from __future__ import annotations

from wattlane.workload.loading import Loaded, load
from wattlane.workload.shaping import Shape, make_shape, shape
from wattlane.workload.statistics import describe

__all__ = [
    "Loaded",
    "Shape",
    "describe",
    "load",
    "make_shape",
    "shape",
]
