"""A file of cases in, a file of predictions out: CSV, Parquet or JSON lines, by suffix."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import polars as pl

from wattlane.core.errors import FileFormatError, InputError, OutOfRangeError
from wattlane.core.files import atomic, existing, read_parquet, write_parquet
from wattlane.model.predict_table import predict_table
from wattlane.model.profile import read_profile

KIND = "predictions"
FORMATS = (".csv", ".parquet", ".jsonl")
LISTED = 8  # refusals in the summary, the most frequent first


def read_cases(path: Path) -> pl.DataFrame:
    """Read a table of cases, by the suffix of its name.

    Raises:
        InputError: no such file, or a suffix other than .csv, .parquet and .jsonl.
        FileFormatError: it cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return read_parquet(path)
    if suffix not in FORMATS:
        raise InputError(f"{path}: found suffix {path.suffix!r}; expected one of {', '.join(FORMATS)}")
    try:
        if suffix == ".csv":
            return pl.read_csv(existing(path), infer_schema_length=10_000, null_values=["", "null", "NA"])
        return pl.read_ndjson(existing(path))
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise FileFormatError(
            f"{path}: not a readable table ({error}); expected {suffix[1:]} with a row a case"
        ) from error


def write_predictions(table: pl.DataFrame, path: Path) -> None:
    """Write predictions by the suffix of `path`: .parquet, .csv or .jsonl; anything else raises `InputError`."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        write_parquet(path, KIND, table)
    elif suffix == ".csv":
        with atomic(path) as temporary:
            table.write_csv(temporary)
    elif suffix == ".jsonl":
        with atomic(path) as temporary:
            table.write_ndjson(temporary)
    else:
        raise InputError(f"{path}: found suffix {path.suffix!r}; expected one of {', '.join(FORMATS)}")


def predict_file(cases: Path, out: Path, profile: Path | None = None, scope: str = "gpu") -> dict[str, Any]:
    """Read a table of cases, write it with its predictions to `out`, and return counts, refusals and seconds.

    Raises:
        InputError: the table, its columns or the profile cannot be used, or not one row can be predicted.
        OutOfRangeError: every row is too far outside the calibrated range. The table is written in either case.
    """
    own = None if profile is None else read_profile(profile)
    if out.suffix.lower() not in FORMATS:
        raise InputError(f"{out}: found suffix {out.suffix!r}; expected one of {', '.join(FORMATS)}")
    began = time.perf_counter()
    table = read_cases(cases)
    read = time.perf_counter()
    found = predict_table(table, profile=own, folder=cases.parent, scope=scope)
    done = time.perf_counter()
    write_predictions(found.table, out)
    written = time.perf_counter()
    said = found.table["refused"].drop_nulls().value_counts(sort=True).head(LISTED)
    refusals = dict(said.iter_rows())
    if not found.predicted and len(found.table):
        problem = InputError.gathered(f"{cases}: none of {len(found.table)} rows could be predicted", refusals)
        raise problem if found.bad else OutOfRangeError(str(problem))
    return {
        "rows": len(found.table),
        "deployments": found.deployments,
        "predicted": found.predicted,
        "extrapolated": int(found.table["extrapolated"].sum()),
        "refused": found.bad + found.far,
        "refusals": refusals,
        "read_s": read - began,
        "predict_s": done - read,
        "write_s": written - done,
    }
