"""Azure LLM inference traces of 2023 and 2024: `TIMESTAMP, ContextTokens, GeneratedTokens`.

Time stamps have up to nine fractional digits (2023: seven) and may end in a UTC offset of zero (2024).
Source: https://github.com/Azure/AzurePublicDataset, CC-BY 4.0.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wattlane.workload.formats import Format, Head
from wattlane.workload.rows import Chunk, Labels, Rows
from wattlane.workload.tabular import csv_tables, numbers

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


def _nanoseconds(stamps: pl.Series) -> pl.Series:
    text = stamps.str.strip_suffix("+00:00").str.strip_suffix("Z")
    return text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="ns", strict=False).cast(pl.Int64)


def _seconds(stamps_ns: pl.Series, origin_ns: int) -> NDArray[np.float64]:
    # divided by numpy: polars multiplies by a rounded 1e-9
    seconds: NDArray[np.float64] = (stamps_ns - origin_ns).cast(pl.Float64).to_numpy() / 1e9
    return seconds


def read(head: Head, rows: Rows) -> None:
    """Read the file; arrivals count from the first row's time stamp."""
    origin_ns: int | None = None
    for table in csv_tables(head.path, head.header, COLUMNS):
        stamps_ns = _nanoseconds(table.frame["TIMESTAMP"])
        if origin_ns is None:
            known = stamps_ns.drop_nulls()
            origin_ns = int(known[0]) if len(known) else None
        rows.add(
            Chunk(
                _seconds(stamps_ns, origin_ns or 0),
                numbers(table.frame["ContextTokens"]),
                numbers(table.frame["GeneratedTokens"]),
                table.lines,
                table.raw,
            )
        )


FORMAT = Format(
    "azure",
    "Azure LLM inference trace, CSV with TIMESTAMP, ContextTokens, GeneratedTokens",
    lambda head: head.has(*COLUMNS),
    read,
    Labels("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
    signed=True,
)
