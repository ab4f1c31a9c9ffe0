"""Lengths resampled from a trace: whole rows with replacement, so that a row's tokens stay together."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wattlane.core.workload import Workload
from wattlane.workload.lengths.drawn import Drawn
from wattlane.workload.loading import load
from wattlane.workload.spec import Kind, Param


def resample(rng: np.random.Generator, n: int, trace: Workload) -> Drawn:
    """Return n rows of `trace` drawn with replacement, tokens."""
    rows = rng.integers(0, len(trace), n)
    assert trace.cached_tokens is not None
    return Drawn(trace.input_tokens[rows], trace.output_tokens[rows], trace.cached_tokens[rows])


def trace(rng: np.random.Generator, n: int, *, path: Path) -> Drawn:
    """Return n rows of the trace file at `path`, of any format `wattlane.workload.load` reads.

    Raises:
        InputError: the file cannot be read.
    """
    return resample(rng, n, load(path).workload)


KIND = Kind("trace", trace, "pairs resampled from a trace file", (Param("path", "a trace file", read=Path),))
