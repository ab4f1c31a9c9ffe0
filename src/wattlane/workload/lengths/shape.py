"""Lengths from the binned shape of a trace: a joint bin by its count, then a length within it that keeps its mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wattlane.workload.lengths.drawn import Drawn
from wattlane.workload.shaping import Shape, read_shape
from wattlane.workload.shaping import shape as shipped
from wattlane.workload.spec import Kind, Param


def draw_shape(rng: np.random.Generator, n: int, source: Shape) -> Drawn:
    """Return n pairs from the joint bins of `source`, tokens."""
    weights = source.cells.ravel() / source.requests
    rows, columns = np.divmod(rng.choice(source.cells.size, n, p=weights), source.cells.shape[1])
    return Drawn(source.input_bins.draw(rng, rows), source.output_bins.draw(rng, columns))


def shape(rng: np.random.Generator, n: int, *, name: str) -> Drawn:
    """Return n pairs from a shipped shape by name, or from a shape file if the name ends in .json, tokens.

    Raises:
        InputError: no such shape or file.
    """
    return draw_shape(rng, n, read_shape(Path(name)) if name.endswith(".json") else shipped(name))


KIND = Kind(
    "shape",
    shape,
    "the joint lengths of a shipped or own binned shape",
    (Param("name", "a shipped shape, as azure-conv, or a .json shape file", read=str),),
)
