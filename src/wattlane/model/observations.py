"""Measured runs a law of whole requests is fitted on: a table with one row a run.

Columns `input_tokens, output_tokens, energy_j, runtime_s`; others are ignored. A row that cannot be used is never
dropped in silence: the table is refused with all its bad rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wattlane.core.errors import FileFormatError, InputError
from wattlane.core.files import existing

COLUMNS = ("input_tokens", "output_tokens", "energy_j", "runtime_s")
LISTED = 20


@dataclass(frozen=True, eq=False, slots=True)
class Observations:
    """Columns of equal length n, float64, every value above 0."""

    input_tokens: NDArray[np.float64]
    output_tokens: NDArray[np.float64]
    energy_j: NDArray[np.float64]
    runtime_s: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in COLUMNS:
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        lengths = {len(getattr(self, name)) for name in COLUMNS}
        if len(lengths) != 1:
            raise InputError(f"observations: found columns of {sorted(lengths)} values; expected one length")

    def __len__(self) -> int:
        return len(self.input_tokens)


def read_observations(path: Path) -> Observations:
    """Read a CSV of runs.

    Raises:
        FileFormatError: not a CSV, or a column is missing.
        InputError: rows with missing, non-numeric or non-positive values, each named by its line.
    """
    try:
        table = pl.read_csv(existing(path), infer_schema=False)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path}: not a readable CSV ({error})") from error
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise FileFormatError(
            f"{path}: missing columns {', '.join(missing)}; found {', '.join(table.columns)}; "
            f"expected {', '.join(COLUMNS)}"
        )
    numbers = table.select(pl.col(COLUMNS).str.strip_chars().cast(pl.Float64, strict=False))
    problems = [
        f"line {row + 2}: {name} is {table[name][row]!r}; expected a number above 0"
        for name in COLUMNS
        for row in np.flatnonzero(_unusable(numbers[name].to_numpy())).tolist()
    ]
    if problems:
        more = [f"and {len(problems) - LISTED} more"] if len(problems) > LISTED else []
        raise InputError.gathered(f"{path}: correct these rows or take them out", [*problems[:LISTED], *more])
    return Observations(**{name: numbers[name].to_numpy() for name in COLUMNS})


def _unusable(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return ~(np.isfinite(values) & (values > 0))
