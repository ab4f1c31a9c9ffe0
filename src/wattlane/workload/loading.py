"""Read a trace of any known format into a `Workload`, counting what could not be read.

Arrivals are seconds since the first request, except for the plain workload file, which keeps its own zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.core.workload import Workload
from wattlane.workload.blocks import Fingerprint, fingerprint
from wattlane.workload.formats import Format, Head, head
from wattlane.workload.loaders import FORMATS
from wattlane.workload.rows import Rows


@dataclass(frozen=True, slots=True)
class Loaded:
    """A workload and what its file was: `rows` = requests in the workload + `bad_rows` + `zero_output_rows`.

    `bad_examples` holds the line and the reason of the first ten bad rows.
    """

    workload: Workload
    format: str
    rows: int
    bad_rows: int
    zero_output_rows: int
    bad_examples: tuple[str, ...]
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        """Return what is known of the file, without the workload, as plain values for JSON."""
        return {
            "format": self.format,
            "rows": self.rows,
            "bad_rows": self.bad_rows,
            "zero_output_rows": self.zero_output_rows,
            "bad_examples": list(self.bad_examples),
            "sha256": self.sha256,
        }


def load(path: Path, *, format: str | None = None, max_bad_share: float = 0.01) -> Loaded:
    """Read the trace at `path`; the format is recognised from the file's opening unless named.

    Raises:
        InputError: no such file, an unknown format, no usable row, or a share of bad rows above `max_bad_share`.
    """
    if not 0 <= max_bad_share <= 1:
        raise InputError(f"max_bad_share is {max_bad_share}; expected a share from 0 to 1")
    path = Path(path)
    opening = head(path)
    chosen = _sniffed(opening) if format is None else _named(format)
    print_of_file = fingerprint(path)
    rows = Rows(chosen.labels, _capacity(opening, print_of_file), signed=chosen.signed)
    chosen.read(opening, rows)
    _check(path, chosen, rows, max_bad_share)
    return Loaded(
        _workload(path, chosen, rows),
        chosen.name,
        rows.total,
        rows.bad,
        rows.zero_output,
        tuple(rows.examples),
        print_of_file.sha256,
    )


def _capacity(opening: Head, print_of_file: Fingerprint) -> int:
    return 0 if opening.is_parquet else print_of_file.line_ends + 1


def _named(name: str) -> Format:
    for candidate in FORMATS:
        if candidate.name == name:
            return candidate
    raise UnknownNameError("trace format", name, [known.name for known in FORMATS])


def _sniffed(opening: Head) -> Format:
    for candidate in FORMATS:
        if candidate.sniff(opening):
            return candidate
    found = ", ".join(opening.header or opening.record) or "nothing that reads as CSV, JSON or Parquet"
    lines = "\n".join(f"  - {known.name}: {known.about}" for known in FORMATS)
    raise InputError(f"{opening.path}: format not recognised; found {found[:200]}; expected one of\n{lines}")


def _check(path: Path, chosen: Format, rows: Rows, max_bad_share: float) -> None:
    examples = "\n".join(f"  - {example}" for example in rows.examples)
    if rows.bad > max_bad_share * rows.total:
        raise InputError(
            f"{path}: {rows.bad:,} of {rows.total:,} rows are bad ({rows.bad / rows.total:.2%}), above the allowed "
            f"{max_bad_share:.2%}\n{examples}\nRepair these rows, or allow a larger share with max_bad_share"
        )
    if rows.count == 0:
        raise InputError(
            f"{path}: read as {chosen.name}, found no request that can be served among {rows.total:,} rows "
            f"({rows.zero_output:,} with zero output tokens); expected at least 1"
        )


def _workload(path: Path, chosen: Format, rows: Rows) -> Workload:
    arrival_s = rows.column("arrival_s")
    assert arrival_s is not None
    columns = {name: rows.column(name) for name in ("input_tokens", "output_tokens", "cached_tokens")}
    notes = [f"read as {chosen.name}", *rows.notes]
    if rows.bad:
        notes.append(f"{rows.bad} bad rows left out")
    if rows.zero_output:
        notes.append(f"{rows.zero_output} rows with zero output tokens left out")
    falls = sum(int((part[1:] < part[:-1]).sum()) for part in _overlapping(arrival_s))
    if falls:
        order = np.argsort(arrival_s, kind="stable")
        arrival_s = arrival_s[order]
        columns = {name: None if values is None else values[order] for name, values in columns.items()}
        notes.append(f"arrivals fell {falls} times in the file; rows were sorted by arrival")
    if not chosen.keeps_zero:
        arrival_s -= arrival_s[0]
    named: dict[str, Any] = {**columns, "name": path.stem, "notes": tuple(notes)}
    return Workload(arrival_s=arrival_s, **named, release_window_s=rows.release_window_s)


def _overlapping(values: np.ndarray, size: int = 1 << 20) -> list[np.ndarray]:
    """Return views of `size` values that share one value with their neighbour: differences without a full copy."""
    return [values[start : start + size + 1] for start in range(0, len(values), size)]
