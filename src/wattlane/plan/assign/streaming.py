"""Kinds straight from a file, in memory that grows with the kinds and not with the rows.

polars groups the rows by their lengths (and limits, where the file has them) while it reads. That serves files with
one row a request and plain length columns; a file with a row that is wrong in any way is left to `wattlane.workload`,
which names the rows.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from wattlane.core.errors import InputError
from wattlane.core.files import existing, sha256
from wattlane.plan.assign.kinds import Kinds, merge
from wattlane.workload import load
from wattlane.workload.formats import Head, head

LARGE_BYTES = 128 << 20
LIMITS = ("min_accuracy", "deadline_s")
# length columns of the formats with one row a request: Azure traces, the plain workload file
LENGTHS = (("ContextTokens", "GeneratedTokens"), ("input_tokens", "output_tokens"))


@dataclass(frozen=True, eq=False, slots=True)
class Kept:
    """The kinds of a file, its digest, what was left out in words, and how long merging took once it was read."""

    kinds: Kinds
    sha256: str
    notes: tuple[str, ...]
    merge_s: float = 0.0


def read_kinds(path: Path, format: str | None = None) -> Kept:
    """Return the kinds of a workload file; those of a large file, or of one with limits by request, without an order.

    Raises:
        InputError: the file cannot be read, or a limit in it is wrong.
    """
    opening = head(path)
    streamable = format is None and _lengths(opening) is not None
    if streamable and (_limits(opening) or existing(path).stat().st_size > LARGE_BYTES):
        kinds, zero = _grouped(opening)
        if kinds is not None:
            notes = (f"{zero} rows with zero output tokens left out",) if zero else ()
            return Kept(kinds, sha256(path), notes)
    loaded = load(path, format=format)
    if _limits(opening):
        raise InputError(
            f"{path}: has limits by request ({', '.join(_limits(opening))}) and {loaded.bad_rows} bad rows; "
            "expected none: repair them, or take the limits out\n" + "\n".join(loaded.bad_examples)
        )
    started = time.perf_counter()
    kinds = merge(loaded.workload)
    return Kept(kinds, loaded.sha256, loaded.workload.notes, time.perf_counter() - started)


def merge_file(path: Path) -> Kinds:
    """Return the kinds of a file in one pass.

    Raises:
        InputError: the file has no plain length columns, or a row that is wrong.
    """
    opening = head(path)
    if _lengths(opening) is None:
        raise InputError(f"{path}: found no length columns; expected one of {LENGTHS}")
    kinds, _ = _grouped(opening)
    if kinds is None:
        raise InputError(f"{path}: has rows that cannot be used; wattlane workload describe names them")
    return kinds


def _lengths(opening: Head) -> tuple[str, str] | None:
    return next((pair for pair in LENGTHS if opening.has(*pair)), None)


def _limits(opening: Head) -> list[str]:
    return [name for name in LIMITS if opening.has(name)]


def _grouped(opening: Head) -> tuple[Kinds | None, int]:
    """Return the kinds and how many rows had no output; None if a row is wrong."""
    lengths = _lengths(opening)
    assert lengths is not None
    keys = [*lengths, *_limits(opening)]
    if opening.is_parquet:
        rows = pl.scan_parquet(opening.path).select(pl.col(keys).cast(pl.Float64, strict=False))
    else:
        rows = pl.scan_csv(
            opening.path,
            # half the memory of 64 bits; what does not fit becomes null, and the file is read the other way
            schema_overrides=dict.fromkeys(lengths, pl.Int32) | dict.fromkeys(_limits(opening), pl.Float64),
            infer_schema=False,
            ignore_errors=True,
            truncate_ragged_lines=True,
        ).select(keys)
    try:
        table = rows.group_by(keys).agg(pl.len().alias("requests")).collect(engine="streaming")
    except pl.exceptions.PolarsError:
        return None, 0
    if len(table) == 0 or not _whole(table, lengths):
        return None, 0
    table = table.sort(keys)  # the order of groups is not the same in every run
    zero = int(table.filter(pl.col(lengths[1]) == 0)["requests"].sum())
    table = table.filter(pl.col(lengths[1]) > 0)
    limits: dict[str, Any] = {name: table[name].to_numpy() for name in _limits(opening)}
    wrong = [f"{name} is missing, negative or zero in a row" for name, v in limits.items() if not _usable(name, v)]
    if wrong:
        raise InputError.gathered(str(opening.path), wrong)
    tin, tout, requests = (table[name].cast(pl.Int64).to_numpy() for name in (*lengths, "requests"))
    return (Kinds(tin, tout, requests, **limits), zero) if len(table) else (None, zero)


def _whole(table: pl.DataFrame, lengths: tuple[str, str]) -> bool:
    """Return whether all lengths are whole numbers, of the input at least 1 and of the output at least 0."""
    tin, tout = (pl.col(name) for name in lengths)
    good = (tin >= 1) & (tout >= 0) & (tin % 1 == 0) & (tout % 1 == 0) & (pl.max_horizontal(tin, tout) < 2**53)
    return bool(table.select(good.fill_null(False).all()).item())


def _usable(name: str, values: Any) -> bool:
    least = 0.0 if name == "min_accuracy" else np.nextafter(0.0, 1.0)
    return bool((values >= least).all())
