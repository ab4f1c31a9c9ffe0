"""The plain workload file: `arrival_s, input_tokens, output_tokens` as CSV, JSON lines or Parquet.

`cached_tokens` and `release_window_s` (one value for the whole file) are read where present; the other optional columns
(`request_id, class, prefix_blocks, deadline_s, tenant`) and any further ones are allowed and not kept. Arrivals keep
the file's own zero. A `served.parquet` reads as a workload too: the requests as they were offered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from wattlane.core.errors import FileFormatError
from wattlane.core.files import SCHEMA
from wattlane.workload.formats import Format, Head
from wattlane.workload.rows import Chunk, Rows
from wattlane.workload.tabular import csv_tables, json_records, number, numbers, records_chunk

REQUIRED = ("arrival_s", "input_tokens", "output_tokens")
CACHED = "cached_tokens"
WINDOW = "release_window_s"
SLICE_ROWS = 1 << 20


def read(head: Head, rows: Rows) -> None:
    """Read the file in the form its opening shows."""
    if head.is_parquet:
        _read_parquet(head, rows)
    elif head.record:
        _read_lines(head, rows)
    else:
        _read_csv(head, rows)
    if WINDOW in head.header or WINDOW in head.record:
        rows.release_window_s = _window_s(head)


def _window_s(head: Head) -> float:
    """Return the one release window of a file.

    Raises:
        FileFormatError: the column holds several values, or none that is a length.
    """
    if head.is_parquet:
        unique = pl.scan_parquet(head.path).select(pl.col(WINDOW).cast(pl.Float64, strict=False).unique()).collect()
        found = {float("nan") if value is None else value for value in unique[WINDOW]}
    elif head.record:
        found = {number(record.get(WINDOW)) for block in json_records(head.path) for _, _, record in block}
    else:
        tables = csv_tables(head.path, head.header, (*REQUIRED, WINDOW))
        found = {value for table in tables for value in numbers(table.frame[WINDOW])}
    if len(found) != 1 or not 0 <= (window_s := found.pop()) < float("inf"):
        raise FileFormatError(f"{head.path}: {WINDOW} is not one length of at least 0 s in all rows; expected one")
    return float(window_s)


def _read_csv(head: Head, rows: Rows) -> None:
    wanted = (*REQUIRED, CACHED) if CACHED in head.header else REQUIRED
    for table in csv_tables(head.path, head.header, wanted):
        arrival_s, input_tokens, output_tokens, *cached = (numbers(table.frame[name]) for name in wanted)
        rows.add(Chunk(arrival_s, input_tokens, output_tokens, table.lines, table.raw, cached[0] if cached else None))


def _read_lines(head: Head, rows: Rows) -> None:
    wanted = (*REQUIRED, CACHED) if CACHED in head.record else REQUIRED

    def values(record: Mapping[str, Any]) -> tuple[float, ...]:
        return tuple(number(record.get(key)) for key in wanted)

    for records in json_records(head.path):
        rows.add(records_chunk(records, values))


def _read_parquet(head: Head, rows: Rows) -> None:
    schema = int(pl.read_parquet_metadata(head.path).get("wattlane.schema", SCHEMA))
    if schema > SCHEMA:
        raise FileFormatError(f"{head.path}: found schema {schema}; this version of wattlane reads up to {SCHEMA}")
    missing = [name for name in REQUIRED if name not in head.header]
    if missing:
        raise FileFormatError(f"{head.path}: missing columns {', '.join(missing)}; found {', '.join(head.header)}")
    wanted = (*REQUIRED, CACHED) if CACHED in head.header else REQUIRED
    scan = pl.scan_parquet(head.path).select(pl.col(wanted).cast(pl.Float64, strict=False))
    total = int(scan.select(pl.len()).collect().item())
    rows.reserve(total)
    for start in range(0, total, SLICE_ROWS):
        frame = scan.slice(start, SLICE_ROWS).collect()
        arrival_s, input_tokens, output_tokens, *cached = (frame[name].to_numpy() for name in wanted)
        lines = range(start + 1, start + 1 + len(frame))
        rows.add(
            Chunk(
                arrival_s,
                input_tokens,
                output_tokens,
                lines,
                lambda i, found=frame: str(found.row(i)),  # type: ignore[misc]
                cached[0] if cached else None,
            )
        )


def _is_plain(head: Head) -> bool:
    return head.has(*REQUIRED) or set(REQUIRED) <= set(head.record)


FORMAT = Format(
    "plain",
    "plain workload, CSV, JSONL or Parquet with arrival_s, input_tokens, output_tokens",
    _is_plain,
    read,
    keeps_zero=True,
)
