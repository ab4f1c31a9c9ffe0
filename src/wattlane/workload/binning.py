"""Count the requests of a workload in length bins, and say what the binning costs.

    I* = min {I in edges : I >= input tokens},  O* likewise      (ceiling)
    inflation = sum of binned tokens / sum of true tokens        over the requests that have a bin; at least 1

Requests longer than the last edge are excluded and counted: counts + excluded = all.
Source: Fernandez et al. 2025, arXiv 2504.17674, section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.core.workload import Workload
from wattlane.workload.bins import SCHEMES
from wattlane.workload.bins.scheme import Scheme

Tokens = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Binned:
    """`counts[i, j]` requests have input bin i and output bin j. Shares are of all requests and all tokens.

    Inflations are None where every request is excluded.
    """

    scheme: str
    input_edges: Tokens
    output_edges: Tokens
    counts: Tokens
    excluded: int
    excluded_input_token_share: float
    excluded_output_token_share: float
    input_inflation: float | None
    output_inflation: float | None

    @property
    def requests(self) -> int:
        """All requests: counted and excluded."""
        return int(self.counts.sum()) + self.excluded

    def __repr__(self) -> str:
        filled = int((self.counts > 0).sum())
        return f"Binned({self.scheme}: {self.requests:,} requests in {filled} cells, {self.excluded:,} excluded)"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file; `cells` lists the filled ones as input edge, output edge, count."""
        filled = zip(*np.nonzero(self.counts), strict=True)
        return {
            "scheme": self.scheme,
            "requests": self.requests,
            "excluded": self.excluded,
            "excluded_share": self.excluded / self.requests,
            "excluded_input_token_share": self.excluded_input_token_share,
            "excluded_output_token_share": self.excluded_output_token_share,
            "input_inflation": self.input_inflation,
            "output_inflation": self.output_inflation,
            "input_edges": self.input_edges.tolist(),
            "output_edges": self.output_edges.tolist(),
            "cells": [[int(self.input_edges[i]), int(self.output_edges[j]), int(self.counts[i, j])] for i, j in filled],
        }


def bin_lengths(
    workload: Workload,
    scheme: str = "fernandez-printed",
    *,
    input_bins: int | None = None,
    output_bins: int | None = None,
) -> Binned:
    """Bin a workload's lengths; `input_bins` and `output_bins` apply to schemes that fit their edges.

    Raises:
        UnknownNameError: no such scheme.
        InputError: a number of bins is below 1, or asked of a scheme with fixed edges.
    """
    chosen = _scheme(scheme)
    wanted = {"input_bins": input_bins, "output_bins": output_bins}
    problems = [f"{name} is {n}; expected at least 1" for name, n in wanted.items() if n is not None and n < 1]
    if chosen.is_fixed:
        problems += [f"{name} given; {scheme} has fixed edges, leave it out" for name, n in wanted.items() if n]
    if problems:
        raise InputError.gathered("bins", problems)
    input_edges = chosen.input_edges(workload.input_tokens, input_bins)
    output_edges = chosen.output_edges(workload.output_tokens, output_bins)
    i, j = ceiling(workload.input_tokens, input_edges), ceiling(workload.output_tokens, output_edges)
    kept = (i < len(input_edges)) & (j < len(output_edges))
    width = len(output_edges)
    counts = np.bincount(i[kept] * width + j[kept], minlength=len(input_edges) * width).astype(np.int64)
    return Binned(
        scheme,
        input_edges,
        output_edges,
        counts.reshape(-1, width),
        int((~kept).sum()),
        float(workload.input_tokens[~kept].sum() / workload.input_tokens.sum()),
        float(workload.output_tokens[~kept].sum() / workload.output_tokens.sum()),
        _inflation(input_edges, i[kept], workload.input_tokens[kept]),
        _inflation(output_edges, j[kept], workload.output_tokens[kept]),
    )


def ceiling(lengths: Tokens, edges: Tokens) -> NDArray[np.intp]:
    """Return for each length the index of the least edge not below it; `len(edges)` where there is none."""
    return np.searchsorted(edges, lengths, side="left")


def _inflation(edges: Tokens, which: NDArray[np.intp], lengths: Tokens) -> float | None:
    return float(edges[which].sum() / lengths.sum()) if len(lengths) else None


def _scheme(name: str) -> Scheme:
    for candidate in SCHEMES:
        if candidate.name == name:
            return candidate
    raise UnknownNameError("binning scheme", name, [known.name for known in SCHEMES])
