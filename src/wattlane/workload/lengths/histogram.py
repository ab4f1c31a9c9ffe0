"""Lengths from a joint histogram: a cell by its count, then whole tokens within the cell.

Cell (i, j) holds prompts of input_edges[i] … input_edges[i + 1] − 1 tokens with outputs of output_edges[j] …
output_edges[j + 1] − 1 tokens. As a file: what `wattlane workload bin -o` writes (kind `bins`, whose ceiling edges are
the last length of each bin), or JSON with `input_edges_tokens`, `output_edges_tokens` and `counts`, a row for each
prompt bin.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import FileFormatError, InputError
from wattlane.core.files import read_json
from wattlane.workload.lengths.drawn import SPACINGS, Drawn, within
from wattlane.workload.spec import Kind, Param


@dataclass(frozen=True, eq=False)
class JointHistogram:
    """Counts of requests by prompt bin (rows) and output bin (columns); edges in tokens, ascending.

    Raises:
        InputError: edges are not ascending whole tokens from 1, or the counts do not fit them.
    """

    input_edges_tokens: NDArray[np.int64]
    output_edges_tokens: NDArray[np.int64]
    counts: NDArray[np.float64]

    def __post_init__(self) -> None:
        problems = []
        for name in ("input_edges_tokens", "output_edges_tokens"):
            edges = getattr(self, name)
            if len(edges) < 2 or edges[0] < 1 or np.diff(edges).min() < 1:
                problems.append(f"{name} is {edges.tolist()[:20]}; expected at least 2 ascending edges from 1")
        expected = (len(self.input_edges_tokens) - 1, len(self.output_edges_tokens) - 1)
        if self.counts.shape != expected:
            problems.append(f"counts has shape {self.counts.shape}; expected {expected}, one for each pair of bins")
        elif not np.isfinite(self.counts).all() or self.counts.min() < 0 or not self.counts.sum() > 0:
            problems.append("counts holds a value below 0 or not finite, or only zeros; expected counts of requests")
        if problems:
            raise InputError.gathered("joint histogram", problems)

    @classmethod
    def of(cls, body: dict[str, Any], what: str) -> JointHistogram:
        """Return the histogram in `body`; raise `FileFormatError` naming what is missing."""
        if body.get("kind") == "bins":
            body = _of_bins(body)
        names = ("input_edges_tokens", "output_edges_tokens", "counts")
        missing = [name for name in names if name not in body]
        if missing:
            raise FileFormatError(f"{what}: missing {', '.join(missing)}; expected a joint histogram of lengths")
        try:
            edges = [np.array(body[name], dtype=np.int64) for name in names[:2]]
            return cls(edges[0], edges[1], np.array(body["counts"], dtype=np.float64))
        except (ValueError, TypeError) as error:
            raise FileFormatError(f"{what}: edges and counts are not numbers in even rows ({error})") from error


def _of_bins(body: dict[str, Any]) -> dict[str, Any]:
    inputs, outputs = body["input_edges"], body["output_edges"]
    counts = np.zeros((len(inputs), len(outputs)))
    for input_edge, output_edge, count in body["cells"]:
        counts[inputs.index(input_edge), outputs.index(output_edge)] = count
    return {
        "input_edges_tokens": [1, *(edge + 1 for edge in inputs)],
        "output_edges_tokens": [1, *(edge + 1 for edge in outputs)],
        "counts": counts,
    }


def draw_cells(rng: np.random.Generator, n: int, histogram: JointHistogram, spacing: str = "log") -> Drawn:
    """Return n pairs, tokens."""
    weights = histogram.counts.ravel() / histogram.counts.sum()
    cells = rng.choice(len(weights), n, p=weights)
    rows, columns = np.divmod(cells, histogram.counts.shape[1])
    inputs, outputs = histogram.input_edges_tokens, histogram.output_edges_tokens
    return Drawn(
        within(rng, inputs[rows], inputs[rows + 1] - 1, spacing),
        within(rng, outputs[columns], outputs[columns + 1] - 1, spacing),
    )


def histogram(rng: np.random.Generator, n: int, *, path: Path, spacing: str = "log") -> Drawn:
    """Return n pairs drawn from the joint histogram in the JSON file at `path`, tokens.

    Raises:
        InputError: the file cannot be read or does not hold a joint histogram.
    """
    return draw_cells(rng, n, JointHistogram.of(read_json(path), str(path)), spacing)


KIND = Kind(
    "histogram",
    histogram,
    "a joint histogram of prompt and output lengths in a JSON file",
    (
        Param("path", "a JSON file", read=Path),
        Param("spacing", f"weight within a cell: {' or '.join(SPACINGS)}", required=False, default="log", read=str),
    ),
)
