"""BurstGPT traces, versions 1 and 2: seconds since the start of recording, request and response tokens.

Version 1 has `Timestamp, Model, Request tokens, Response tokens, Total tokens, Log Type`; version 2 adds `Session ID`
and `Elapsed time`. Failed requests have zero response tokens. Models and log types are read together.
Source: https://github.com/HPMLL/BurstGPT, CC-BY 4.0.
"""

from __future__ import annotations

from wattlane.workload.formats import Format, Head
from wattlane.workload.rows import Chunk, Labels, Rows
from wattlane.workload.tabular import csv_tables, numbers

COLUMNS = ("Timestamp", "Request tokens", "Response tokens")


def read(head: Head, rows: Rows) -> None:
    """Read the file; sessions, models and log types are not told apart."""
    for table in csv_tables(head.path, head.header, COLUMNS):
        arrival_s, input_tokens, output_tokens = (numbers(table.frame[name]) for name in COLUMNS)
        rows.add(Chunk(arrival_s, input_tokens, output_tokens, table.lines, table.raw))


FORMAT = Format(
    "burstgpt",
    "BurstGPT trace, CSV with Timestamp, Request tokens, Response tokens",
    lambda head: head.has(*COLUMNS),
    read,
    Labels(*COLUMNS),
)
