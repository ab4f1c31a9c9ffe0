"""A table in the schema itself: CSV or Parquet with at least `input_tokens, output_tokens, energy_j, runtime_s`."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from wattlane.core.errors import FileFormatError
from wattlane.core.files import read_parquet
from wattlane.model.observations import read_observations
from wattlane.model.records.schema import REQUIRED, SCHEMA, Records

LAYOUT = "plain"


def read_plain(path: Path) -> Records:
    """Read a CSV or Parquet table of runs; a CSV row that cannot be used is refused by its line, never dropped.

    Raises:
        FileFormatError: not such a table, or a column is missing.
        InputError: rows with missing, non-numeric or non-positive values.
    """
    if path.suffix == ".parquet":
        return _with_source(read_parquet(path, None, REQUIRED), path)
    read_observations(path)
    table = pl.read_csv(path, infer_schema=False)
    numbers = [name for name, (kind, _) in SCHEMA.items() if name in table.columns and kind == pl.Float64]
    flags = [name for name, (kind, _) in SCHEMA.items() if name in table.columns and kind == pl.Boolean]
    wrong = [
        f"{name} (line {row + 2}: {table[name][row]!r})"
        for name in flags
        for row, value in enumerate(table[name].to_list())
        if value is not None and value.strip().lower() not in ("true", "false")
    ]
    if wrong:
        raise FileFormatError(f"{path}: expected true or false, found {', '.join(wrong[:8])}")
    return _with_source(
        table.with_columns(
            *(pl.col(name).str.strip_chars().cast(pl.Float64, strict=False) for name in numbers),
            *((pl.col(name).str.strip_chars().str.to_lowercase() == "true").alias(name) for name in flags),
        ),
        path,
    )


def _with_source(table: pl.DataFrame, path: Path) -> Records:
    if "source" not in table.columns:
        table = table.with_columns(pl.lit(path.name).alias("source"))
    return Records.of(table, LAYOUT)
