"""The measured lookup with ceiling bins: a workload costs what its bins cost, nothing is regressed.

    I* = min {I in the table : I >= input tokens},  O* likewise
    E  = Σ over cells  N / B · E_batch              N requests of the cell, B in a full batch, E_batch measured joules

(Fernandez et al. 2025, arXiv 2504.17674, section 4.1.) N/B is a real number as published ("fractional"), or whole
batches ("ceil"). A cell that was not measured is an error, or is interpolated between measured neighbours in the same
row or column, on logarithms of tokens and joules a request, and marked; nothing is ever extrapolated. Ceiling bins
overstate requests that do not fill their bin; `wattlane workload bin` prints by how much.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from wattlane.core.errors import FileFormatError, InputError, OutOfRangeError, UnknownNameError
from wattlane.core.files import existing
from wattlane.model.law import REQUESTS, Traits
from wattlane.model.law_files import is_number, read_body, write_law

LAW = "table"
COLUMNS = ("input_tokens", "output_tokens", "batch", "energy_j", "runtime_s")
MODES = ("fractional", "ceil")
MISSING = ("error", "interpolate")

Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Cell:
    """One full batch: how many requests, and the joules and seconds it takes."""

    batch: float
    energy_j: float
    runtime_s: float


@dataclass(frozen=True, slots=True)
class WorkloadCost:
    """Joules and seconds of a workload run as full batches one after another; `interpolated` lists unmeasured cells."""

    energy_j: float
    runtime_s: float
    requests: float
    interpolated: tuple[Key, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class LookupTable:
    """Measured cells by (input bin, output bin). The bins are the tokens that occur in the cells."""

    model: str
    cells: Mapping[Key, Cell]
    mode: str = "fractional"
    missing: str = "error"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    traits: ClassVar[Traits] = Traits(
        REQUESTS.axes,
        REQUESTS.answers,
        REQUESTS.rising,
        exempt={"coverage": "a cell states what was measured, rounded up to its bin, and no interval"},
    )

    def __post_init__(self) -> None:
        problems = [
            f"{key}: {cell}; expected values above 0" for key, cell in self.cells.items() if not _positive(cell)
        ]
        problems += [] if self.cells else ["found no cells; expected at least one"]
        problems += [] if self.mode in MODES else [f"mode is {self.mode!r}; expected one of {', '.join(MODES)}"]
        problems += (
            [] if self.missing in MISSING else [f"missing is {self.missing!r}; expected one of {', '.join(MISSING)}"]
        )
        if problems:
            raise InputError.gathered("table law", problems)

    @property
    def edges(self) -> tuple[list[int], list[int]]:
        """Ascending bins of input and output tokens."""
        return sorted({i for i, _ in self.cells}), sorted({o for _, o in self.cells})

    def bin_of(self, input_tokens: float, output_tokens: float) -> Key:
        """Return the ceiling bin.

        Raises:
            OutOfRangeError: longer than the last bin, shorter than one token.
        """
        inputs, outputs = self.edges
        i, o = (
            next((e for e in edges if e >= n), None) for edges, n in ((inputs, input_tokens), (outputs, output_tokens))
        )
        if i is None or o is None or input_tokens < 1 or output_tokens < 1:
            raise OutOfRangeError(
                f"found {input_tokens:g} input and {output_tokens:g} output tokens; the table of {self.model} has bins "
                f"up to {inputs[-1]} and {outputs[-1]}; measure longer cells or leave such requests out"
            )
        return i, o

    def cell(self, key: Key) -> tuple[Cell, bool]:
        """Return the cell of a bin and whether it was interpolated.

        Raises:
            InputError: not measured, and either not to be interpolated or without neighbours on both sides.
        """
        if key in self.cells:
            return self.cells[key], False
        made = self._between(key) if self.missing == "interpolate" else None
        if made is None:
            asked = "" if self.missing == "interpolate" else ", or allow interpolation with missing='interpolate'"
            raise InputError(
                f"cell ({key[0]}, {key[1]}) of {self.model} was not measured and has "
                f"{'no measured neighbours on both sides' if not asked else 'to be'}; measure it{asked}"
            )
        return made, True

    def _between(self, key: Key) -> Cell | None:
        """Return a cell between the nearest measured ones of the same input bin, else of the same output bin."""
        for axis in (1, 0):
            line = {k[axis]: c for k, c in self.cells.items() if k[1 - axis] == key[1 - axis]}
            below, above = [t for t in line if t < key[axis]], [t for t in line if t > key[axis]]
            if below and above:
                lo, hi = max(below), min(above)
                return _interpolated(line[lo], line[hi], math.log(key[axis] / lo) / math.log(hi / lo))
        return None

    def workload(self, counts: Mapping[Key, float]) -> WorkloadCost:
        """Return what a workload costs, given as (input, output) tokens → requests; each is rounded up to its bin.

        Raises:
            OutOfRangeError: requests longer than the last bin.
            InputError: cells that were not measured, all of them together.
        """
        binned: dict[Key, float] = {}
        for tokens, n in counts.items():
            key = self.bin_of(*tokens)
            binned[key] = binned.get(key, 0.0) + n
        found, problems = {}, []
        for key in binned:
            try:
                found[key] = self.cell(key)
            except InputError as error:
                problems.append(str(error))
        if problems:
            raise InputError.gathered("table law", problems)
        batches = {key: self._batches(n, found[key][0].batch) for key, n in binned.items()}
        return WorkloadCost(
            math.fsum(batches[key] * found[key][0].energy_j for key in binned),
            math.fsum(batches[key] * found[key][0].runtime_s for key in binned),
            math.fsum(binned.values()),
            tuple(sorted(key for key, (_, made) in found.items() if made)),
        )

    def _batches(self, requests: float, batch: float) -> float:
        return requests / batch if self.mode == "fractional" else float(math.ceil(requests / batch - 1e-12))

    def answer(self, *asked: float) -> tuple[float, ...]:
        """Return (seconds of the batch a request runs in, its share of the batch's joules)."""
        cell, _ = self.cell(self.bin_of(asked[0], asked[1]))
        return cell.runtime_s, cell.energy_j / cell.batch

    def request_cost(self, input_tokens: float, output_tokens: float) -> tuple[float, float]:
        """Return (runtime in s, energy in J) of one request in a full batch of its like."""
        runtime_s, energy_j = self.answer(input_tokens, output_tokens)
        return runtime_s, energy_j


def _positive(cell: Cell) -> bool:
    return all(math.isfinite(v) and v > 0 for v in (cell.batch, cell.energy_j, cell.runtime_s))


def _interpolated(a: Cell, b: Cell, share: float) -> Cell:
    """Return a cell between two; the smaller batch, so that what fits is not overstated."""
    batch = min(a.batch, b.batch)

    def between(x: float, y: float) -> float:
        return math.exp((1 - share) * math.log(x) + share * math.log(y))

    return Cell(batch, between(a.energy_j / a.batch, b.energy_j / b.batch) * batch, between(a.runtime_s, b.runtime_s))


def read_cells(path: Path) -> dict[Key, Cell]:
    """Read measured batches from a CSV or Parquet file; repeats of a cell are averaged.

    Columns `input_tokens, output_tokens, batch, energy_j, runtime_s`: bins, requests of the batch, its joules, seconds.

    Raises:
        FileFormatError: not readable, or a column is missing.
        InputError: rows that cannot be used, or repeats with different batches, all together.
    """
    try:
        table = pl.read_parquet(existing(path)) if path.suffix == ".parquet" else pl.read_csv(existing(path))
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path}: not a readable table ({error})") from error
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise FileFormatError(f"{path}: missing columns {', '.join(missing)}; found {', '.join(table.columns)}")
    return _gathered_cells(path, table.select(COLUMNS).rows())


def _gathered_cells(path: Path, rows: Iterable[tuple[Any, ...]]) -> dict[Key, Cell]:
    repeats: dict[Key, list[Cell]] = {}
    problems = []
    for line, row in enumerate(rows, start=2):
        bad = [f"{n} is {v!r}" for n, v in zip(COLUMNS, row, strict=True) if not (is_number(v) and v > 0)]
        if bad:
            problems.append(f"line {line}: {', '.join(bad)}; expected numbers above 0")
            continue
        repeats.setdefault((int(row[0]), int(row[1])), []).append(Cell(*(float(v) for v in row[2:])))
    for key, cells in repeats.items():
        if len({c.batch for c in cells}) > 1:
            problems.append(f"cell {key}: repeats with batches {sorted({c.batch for c in cells})}; expected one batch")
    if problems:
        raise InputError.gathered(str(path), problems)
    return {key: _mean(cells) for key, cells in repeats.items()}


def _mean(cells: list[Cell]) -> Cell:
    n = len(cells)
    return Cell(cells[0].batch, sum(c.energy_j for c in cells) / n, sum(c.runtime_s for c in cells) / n)


def write_table(law: LookupTable, path: Path) -> None:
    """Write a law file; cells as rows of `COLUMNS`."""
    rows = [[*key, cell.batch, cell.energy_j, cell.runtime_s] for key, cell in sorted(law.cells.items())]
    choices = {"mode": law.mode, "missing": law.missing}
    write_law(
        path,
        LAW,
        {"model": law.model, **choices, "columns": [*COLUMNS], "cells": rows, "provenance": {**law.provenance}},
    )


def read_table(path: Path) -> LookupTable:
    """Read a law file.

    Raises:
        FileFormatError: another kind of file or another law.
        InputError: cells that are none, all together.
        UnknownNameError: no such mode.
    """
    body = read_body(path, LAW)
    for what, known in (("mode", MODES), ("missing", MISSING)):
        if body.get(what) not in known:
            raise UnknownNameError(what, str(body.get(what)), known)
    found = body.get("cells")
    if not (isinstance(found, list) and all(isinstance(row, list) and len(row) == len(COLUMNS) for row in found)):
        raise FileFormatError(f"{path}: found no cells; expected rows of {', '.join(COLUMNS)}")
    cells = _gathered_cells(path, (tuple(row) for row in found))
    return LookupTable(str(body.get("model")), cells, body["mode"], body["missing"], body.get("provenance", {}))
