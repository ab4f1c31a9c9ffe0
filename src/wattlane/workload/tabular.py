"""CSV and JSON lines into chunks of rows, block by block.

Quoted CSV fields may hold commas but no line ends: a line is a row, which keeps reported line numbers true.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wattlane.core.errors import FileFormatError
from wattlane.workload.blocks import Block, blocks
from wattlane.workload.rows import Chunk

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one block as text columns; `lines` are their line numbers in the file."""

    frame: pl.DataFrame
    lines: range | list[int]
    raw: Callable[[int], str]


def csv_tables(path: Path, header: tuple[str, ...], wanted: tuple[str, ...]) -> Iterator[Table]:
    """Yield the wanted columns of a CSV file as text, blank lines left out.

    Raises:
        FileFormatError: a wanted column is missing from the header.
    """
    missing = [name for name in wanted if name not in header]
    if missing:
        raise FileFormatError(f"{path}: missing columns {', '.join(missing)}; found {', '.join(header)}")
    if len(set(header)) < len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        raise FileFormatError(f"{path}: columns {', '.join(twice)} occur more than once; expected each name once")
    for block in blocks(path, skip_lines=1):
        frame = _parse(block, header).select(wanted)
        yield _without_blanks(block, frame)


def _parse(block: Block, header: tuple[str, ...]) -> pl.DataFrame:
    # a header of our own before each block: a short first line must not decide how many columns there are
    data = ",".join(str(i) for i in range(len(header))).encode() + b"\n" + block.data
    line_count = block.data.count(b"\n") + (not block.data.endswith(b"\n"))
    frame = None
    if b'"' in block.data:
        with contextlib.suppress(pl.exceptions.ComputeError):  # a quote left open
            frame = _read(data, '"')
    # fewer rows than lines: a quote swallowed a line end, and lines would be misnumbered
    if frame is None or len(frame) != line_count:
        frame = _read(data, None)
    frame.columns = list(header)
    return frame


def _read(data: bytes, quote: str | None) -> pl.DataFrame:
    return pl.read_csv(
        io.BytesIO(data),
        infer_schema=False,
        truncate_ragged_lines=True,
        quote_char=quote,
        encoding="utf8-lossy",
    )


def _without_blanks(block: Block, frame: pl.DataFrame) -> Table:
    lines = range(block.first_line, block.first_line + len(frame))
    # a line of blanks parses as one blank field and nulls
    empty = frame.select(pl.all_horizontal(pl.nth(range(1, frame.width)).is_null())).to_series()
    text: list[str] = []

    def raw(i: int) -> str:
        if not text:
            text.extend(block.lines())
        return text[lines[i] - block.first_line]

    if not empty.any():
        return Table(frame, lines, raw)
    keep = [i for i in range(len(frame)) if not empty[i] or raw(i).strip()]
    kept = [lines[i] for i in keep]
    return Table(frame[keep], kept, lambda i: text[kept[i] - block.first_line])


def numbers(column: pl.Series) -> Floats:
    """Return text as float64, NaN where it is missing or not a number."""
    return column.str.strip_chars().cast(pl.Float64, strict=False).to_numpy().astype(np.float64, copy=False)


def json_records(path: Path) -> Iterator[list[tuple[int, str, Mapping[str, Any]]]]:
    """Yield line number, text and object of each line, block by block; a line that is no object gives an empty one."""
    for block in blocks(path):
        lines = enumerate(block.lines(), start=block.first_line)
        if found := [(number, text, _record(text)) for number, text in lines if text.strip()]:
            yield found


def _record(text: str) -> Mapping[str, Any]:
    try:
        body = json.loads(text)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def records_chunk(
    records: Sequence[tuple[int, str, Mapping[str, Any]]],
    values: Callable[[Mapping[str, Any]], tuple[float, ...]],
) -> Chunk:
    """Return a chunk from JSON objects; `values` gives arrival, input, output and, optionally, cached of one."""
    table = np.array([values(record) for _, _, record in records], dtype=np.float64)
    columns = table.reshape(len(records), -1).T
    cached = columns[3] if len(columns) > 3 else None
    lines = [line for line, _, _ in records]
    return Chunk(columns[0], columns[1], columns[2], lines, lambda i: records[i][1], cached)


def number(value: object) -> float:
    """Return a JSON value as a float, NaN if it is not a number."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
