"""Write a workload as the plain file: CSV, JSON lines or Parquet by suffix; convert any known trace to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wattlane.core.errors import InputError
from wattlane.core.files import atomic, write_parquet
from wattlane.core.workload import Workload
from wattlane.workload.loading import Loaded, load

if TYPE_CHECKING:
    import polars as pl

KIND = "workload"
SUFFIXES = (".csv", ".jsonl", ".parquet")


def write(workload: Workload, path: Path) -> Path:
    """Write `arrival_s, input_tokens, output_tokens` and, where there are any, `cached_tokens` and `release_window_s`.

    Raises:
        InputError: the suffix is not one of .csv, .jsonl, .parquet.
    """
    path = _checked(Path(path))
    table = _table(workload)
    if path.suffix == ".parquet":
        write_parquet(path, KIND, table)
        return path
    with atomic(path) as temporary:
        if path.suffix == ".csv":
            table.write_csv(temporary)
        else:
            table.write_ndjson(temporary)
    return path


def convert(source: Path, target: Path, *, format: str | None = None, max_bad_share: float = 0.01) -> Loaded:
    """Load the trace at `source` and write it as a plain file at `target`; return what was loaded."""
    target = _checked(Path(target))
    loaded = load(source, format=format, max_bad_share=max_bad_share)
    write(loaded.workload, target)
    return loaded


def _checked(path: Path) -> Path:
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: found suffix {path.suffix!r}; expected one of {', '.join(SUFFIXES)}")
    return path


def _table(workload: Workload) -> pl.DataFrame:
    import polars as pl

    columns = {
        "arrival_s": workload.arrival_s,
        "input_tokens": workload.input_tokens,
        "output_tokens": workload.output_tokens,
    }
    if workload.cached_tokens is not None and workload.cached_tokens.any():
        columns["cached_tokens"] = workload.cached_tokens
    if workload.release_window_s:
        columns["release_window_s"] = np.full(len(workload), workload.release_window_s)
    return pl.DataFrame(columns)
