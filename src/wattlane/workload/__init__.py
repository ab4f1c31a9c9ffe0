"""Floor 1, requests: traces in, arrival processes, length bins, statistics; always seeded."""

from __future__ import annotations

from wattlane.workload.binning import Binned, bin_lengths
from wattlane.workload.loaders.servegen import servegen
from wattlane.workload.loading import Loaded, load
from wattlane.workload.shaping import Shape, make_shape, shape
from wattlane.workload.statistics import describe
from wattlane.workload.writing import convert, write

__all__ = [
    "Binned",
    "Loaded",
    "Shape",
    "bin_lengths",
    "convert",
    "describe",
    "load",
    "make_shape",
    "servegen",
    "shape",
    "write",
]
