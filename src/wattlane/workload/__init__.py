"""Floor 1, requests: traces in, arrival processes, length bins, statistics; always seeded."""

from __future__ import annotations

from wattlane.workload.arrivals import ARRIVALS
from wattlane.workload.binning import Binned, bin_lengths
from wattlane.workload.downloading import PublicTrace, download, public_traces, record_of
from wattlane.workload.generation import generate
from wattlane.workload.lengths import LENGTHS
from wattlane.workload.loaders.servegen import servegen
from wattlane.workload.loading import Loaded, load
from wattlane.workload.metrics.convert import FromMetrics, from_metrics
from wattlane.workload.metrics.queries import PROMETHEUS_QUERIES
from wattlane.workload.metrics.sources import Range, unix_time
from wattlane.workload.shaping import Shape, make_shape, shape
from wattlane.workload.statistics import describe
from wattlane.workload.writing import convert, write

__all__ = [
    "ARRIVALS",
    "LENGTHS",
    "PROMETHEUS_QUERIES",
    "Binned",
    "FromMetrics",
    "Loaded",
    "PublicTrace",
    "Range",
    "Shape",
    "bin_lengths",
    "convert",
    "describe",
    "download",
    "from_metrics",
    "generate",
    "load",
    "make_shape",
    "public_traces",
    "record_of",
    "servegen",
    "shape",
    "unix_time",
    "write",
]
