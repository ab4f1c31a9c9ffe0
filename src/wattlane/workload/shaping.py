"""The binned shape of a trace: enough to draw workloads like it, without its rows.

A shape keeps the joint histogram of input and output lengths in quantile bins (bounds and mean of each), the requests
of every minute, the silences, and the dispersion of arrivals at each time scale (`cascade`). It does not keep the
order of lengths: draws are independent in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.core.files import read_json, write_json
from wattlane.core.workload import Workload
from wattlane.workload import cascade
from wattlane.workload.statistics import describe, requests_per_minute

FOLDER = Path(__file__).parent / "shapes"
KIND = "shape"
INPUT_BINS = 64
OUTPUT_BINS = 64
TAIL = tuple(1.0 - 2.0 ** (-k / 3) for k in range(15, 40))  # quantiles that keep the long tail from one wide bin

Tokens = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LengthBins:
    """Bins of whole tokens, ascending and disjoint: least, greatest and mean of the values in each."""

    lo_tokens: Tokens
    hi_tokens: Tokens
    mean_tokens: Floats

    def draw(self, random: np.random.Generator, which: Tokens) -> Tokens:
        """Draw a length in each chosen bin: uniform on either side of the mean, weighted so that the mean holds."""
        lo, hi, mean = self.lo_tokens[which] - 0.5, self.hi_tokens[which] + 0.5, self.mean_tokens[which]
        low_side = random.random(len(which)) < (hi - mean) / (hi - lo)
        start, end = np.where(low_side, lo, mean), np.where(low_side, mean, hi)
        drawn = np.rint(start + random.random(len(which)) * (end - start)).astype(np.int64)
        drawn_in_bin: Tokens = np.clip(drawn, self.lo_tokens[which], self.hi_tokens[which])
        return drawn_in_bin


@dataclass(frozen=True, eq=False)
class Shape:
    """What is kept of a trace. `cells[i, j]` counts requests of input bin i and output bin j."""

    name: str
    source: str
    licence: str
    source_sha256: str
    span_s: float
    per_minute: Tokens
    silences_s: Floats
    dispersion: Floats
    input_bins: LengthBins
    output_bins: LengthBins
    cells: Tokens
    statistics: dict[str, Any]

    @property
    def requests(self) -> int:
        """How many requests the trace has, and every sample with it."""
        return int(self.cells.sum())

    def __repr__(self) -> str:
        return (
            f"Shape({self.name}: {self.requests:,} requests over {self.span_s:,.0f} s; {self.source}; {self.licence})"
        )

    def sample(self, seed: int) -> Workload:
        """Draw a workload with exactly `requests` requests: same seed, same workload."""
        random = np.random.default_rng(seed)
        arrival_s = cascade.draw(random, self.per_minute, self.dispersion, self.silences_s, self.span_s)
        cell = random.permutation(np.repeat(np.arange(self.cells.size), self.cells.ravel()))
        width = self.cells.shape[1]
        return Workload(
            arrival_s,
            self.input_bins.draw(random, cell // width),
            self.output_bins.draw(random, cell % width),
            name=self.name,
            notes=(f"drawn from the shape of {self.source} ({self.licence}) with seed {seed}",),
        )

    def write(self, path: Path) -> None:
        """Write the shape as a JSON file."""
        write_json(
            path,
            KIND,
            {
                "name": self.name,
                "source": self.source,
                "licence": self.licence,
                "source_sha256": self.source_sha256,
                "span_s": self.span_s,
                "requests_per_minute": _text(self.per_minute),
                "silences_s": [_text(row) for row in self.silences_s],
                "dispersion": _text(self.dispersion),
                "input_bins": _bins_text(self.input_bins),
                "output_bins": _bins_text(self.output_bins),
                "cells": [_text(row) for row in self.cells],
                "statistics": self.statistics,
            },
        )


def make_shape(workload: Workload, *, name: str, source: str, licence: str, source_sha256: str) -> Shape:
    """Return the shape of a workload; it needs at least two requests at different times.

    Raises:
        InputError: all requests arrive at once.
    """
    if workload.span_s == 0:
        raise InputError(f"{workload.name}: all requests arrive at once; expected a span of time to take a shape from")
    arrival_s = workload.arrival_s - workload.arrival_s[0]
    silent_s = np.round(cascade.silences(arrival_s), 2)
    input_bins, i = _quantile_bins(workload.input_tokens, INPUT_BINS)
    output_bins, j = _quantile_bins(workload.output_tokens, OUTPUT_BINS)
    width = len(output_bins.lo_tokens)
    cells = np.bincount(i * width + j, minlength=len(input_bins.lo_tokens) * width).reshape(-1, width)
    facts = describe(workload)
    kept = ("requests", "rate_rps", "gap_cv", "longest_gap_s", "input_tokens", "output_tokens")
    return Shape(
        name,
        source,
        licence,
        source_sha256,
        float(arrival_s[-1]),
        requests_per_minute(arrival_s),
        silent_s,
        np.round(cascade.dispersions(arrival_s, silent_s), 6),
        input_bins,
        output_bins,
        cells.astype(np.int64),
        {key: _rounded(facts[key]) for key in (*kept, "input_output_correlation")},
    )


def shape(name: str) -> Shape:
    """Return a shipped shape by name, such as `azure-conv`; raise `UnknownNameError` listing them."""
    path = FOLDER / f"{name}.json"
    if name not in names():
        raise UnknownNameError("workload shape", name, names())
    return read_shape(path)


def names() -> tuple[str, ...]:
    """Return the names of the shipped shapes."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


@lru_cache(maxsize=8)
def read_shape(path: Path) -> Shape:
    """Read a shape file."""
    body = read_json(path, KIND)
    return Shape(
        body["name"],
        body["source"],
        body["licence"],
        body["source_sha256"],
        body["span_s"],
        _integers(body["requests_per_minute"]),
        np.array([_floats(row) for row in body["silences_s"]]).reshape(-1, 2),
        _floats(body["dispersion"]),
        _bins(body["input_bins"]),
        _bins(body["output_bins"]),
        np.array([_integers(row) for row in body["cells"]]),
        body["statistics"],
    )


def _quantile_bins(tokens: Tokens, count: int) -> tuple[LengthBins, Tokens]:
    """Return bins of about equal numbers of requests (finer in the tail), and the bin of each request."""
    levels = np.union1d(np.linspace(0.0, 1.0, count + 1), TAIL)[1:]
    upper = np.unique(np.quantile(tokens, levels, method="higher"))
    which = np.searchsorted(upper, tokens)
    order = np.argsort(which, kind="stable")
    starts = np.searchsorted(which[order], np.arange(len(upper)))
    lo = np.minimum.reduceat(tokens[order], starts)
    mean = np.add.reduceat(tokens[order], starts) / np.bincount(which)
    return LengthBins(lo, upper, np.round(mean, 4)), which.astype(np.int64)


def _rounded(value: Any) -> Any:
    """Return numbers at six decimals, so that the file does not depend on how a machine adds."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 6) if isinstance(value, float) else value


def _text(values: NDArray[Any]) -> str:
    return " ".join(f"{value:.8g}" for value in values.tolist())


def _integers(text: str) -> Tokens:
    return np.array([int(word) for word in text.split()], dtype=np.int64)


def _floats(text: str) -> Floats:
    return np.array([float(word) for word in text.split()], dtype=np.float64)


def _bins_text(bins: LengthBins) -> dict[str, str]:
    return {"lo": _text(bins.lo_tokens), "hi": _text(bins.hi_tokens), "mean": _text(bins.mean_tokens)}


def _bins(body: dict[str, str]) -> LengthBins:
    return LengthBins(_integers(body["lo"]), _integers(body["hi"]), _floats(body["mean"]))
