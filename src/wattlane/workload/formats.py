"""What a trace format is: a name, a look at the file's opening, and a reader that fills `Rows`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from wattlane.core.errors import FileFormatError
from wattlane.core.files import existing
from wattlane.workload.rows import Labels, Rows

OPENING_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Head:
    """The opening of a file, as much as a format needs to recognise itself.

    `header` holds the column names of a CSV or Parquet file; `record` the first JSON object, which is the first line
    of a JSONL file or the whole of a JSON document. Each is empty where the file has no such thing.
    """

    path: Path
    header: tuple[str, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)
    is_parquet: bool = False

    def has(self, *columns: str) -> bool:
        """Return whether the header holds all of `columns`."""
        return set(columns) <= set(self.header)


@dataclass(frozen=True, slots=True)
class Format:
    """One trace format.

    `keeps_zero`: arrivals count from the file's own zero, not from the first request. `signed`: the reader counts
    arrivals from the file's first row, so that a negative one only says that rows are not in order.
    """

    name: str
    about: str
    sniff: Callable[[Head], bool]
    read: Callable[[Head, Rows], None]
    labels: Labels = field(default_factory=Labels)
    keeps_zero: bool = False
    signed: bool = False


def head(path: Path) -> Head:
    """Return the opening of a file."""
    with existing(path).open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        line = file.readline(OPENING_BYTES).strip()
    if magic == b"PAR1":
        try:
            return Head(path, tuple(pl.read_parquet_schema(path)), is_parquet=True)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise FileFormatError(f"{path}: not a readable Parquet file ({error}); it is truncated") from error
    if line.startswith((b"{", b"[")) or not line:
        return Head(path, record=_first_object(path, line))
    return Head(path, tuple(name.strip().strip('"') for name in line.decode("utf-8-sig", "replace").split(",")))


def _first_object(path: Path, line: bytes) -> dict[str, Any]:
    for whole in (False, True):
        try:
            body = json.loads(path.read_bytes() if whole else line)
        except ValueError:
            continue
        if isinstance(body, dict):
            return body
    return {}
