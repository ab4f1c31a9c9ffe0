"""Where loaders put their rows: good ones into columns, bad ones into a count with examples.

A row is bad if a value is missing, not a number, negative, not whole (tokens), has no input token, or claims more
cached than input tokens. A row with zero output tokens is no such fault: public traces record requests that failed
or were refused this way. It cannot be served, so it is left out and counted on its own.

Memory: 24 bytes a row, reserved once from the number of line ends and paged in as rows arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
EXAMPLES = 10
RAW_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows as read: float64 columns with NaN where a value is missing or not a number.

    `lines` are the numbers the rows are reported under, `raw` gives their text (called only for bad rows).
    """

    arrival_s: Floats
    input_tokens: Floats
    output_tokens: Floats
    lines: Sequence[int]
    raw: Callable[[int], str]
    cached_tokens: Floats | None = None


@dataclass(frozen=True, slots=True)
class Labels:
    """What the format calls its columns and its rows: messages use these names."""

    arrival: str = "arrival_s"
    input: str = "input_tokens"
    output: str = "output_tokens"
    cached: str = "cached_tokens"
    row: str = "line"


def _tokens_faults(values: Floats, name: str, least: int) -> list[tuple[NDArray[np.bool_], str]]:
    missing = np.isnan(values)
    with np.errstate(invalid="ignore"):
        wrong = ~missing & ~((values >= least) & (values == np.floor(values)) & (values < 2**53))
    return [
        (missing, f"{name} is missing or not a number"),
        (wrong, f"{name} is {{value:g}}; expected a whole number of at least {least}"),
    ]


@dataclass
class Rows:
    """The sink of one load: grows by chunks, ends as columns."""

    labels: Labels
    capacity: int
    signed: bool = False
    count: int = 0
    bad: int = 0
    zero_output: int = 0
    examples: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    release_window_s: float = 0.0
    _columns: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._columns = {
            "arrival_s": np.empty(self.capacity, np.float64),
            "input_tokens": np.empty(self.capacity, np.int64),
            "output_tokens": np.empty(self.capacity, np.int64),
        }

    @property
    def total(self) -> int:
        """Rows seen: good, bad and with zero output."""
        return self.count + self.bad + self.zero_output

    def column(self, name: str) -> NDArray[Any] | None:
        """Return the good rows of a column (a view), None for a column the file does not have."""
        values = self._columns.get(name)
        return None if values is None else values[: self.count]

    def reserve(self, capacity: int) -> None:
        """Make room for `capacity` rows in all, where the number is known beforehand."""
        if capacity > self.capacity:
            self.capacity = capacity
            for name, values in self._columns.items():
                grown = np.zeros(capacity, values.dtype)
                grown[: self.count] = values[: self.count]
                self._columns[name] = grown

    def add(self, chunk: Chunk) -> None:
        """Sort the rows of a chunk into good, bad and zero output."""
        faults = self._faults(chunk)
        bad = np.zeros(len(chunk.arrival_s), bool)
        for mask, _, _ in faults:
            bad |= mask
        if bad.any():
            self._report(chunk, bad, faults)
        zero = ~bad & (chunk.output_tokens == 0)
        self.bad += int(bad.sum())
        self.zero_output += int(zero.sum())
        good = ~(bad | zero)
        self._store(chunk, slice(None) if good.all() else good, int(good.sum()))

    def _faults(self, chunk: Chunk) -> list[tuple[NDArray[np.bool_], str, Floats]]:
        names, arrival = self.labels, chunk.arrival_s
        found = [(~np.isfinite(arrival), f"{names.arrival} is missing or not a number", arrival)]
        if not self.signed:
            text = f"{names.arrival} is {{value:g}}; expected at least 0"
            found.append((np.isfinite(arrival) & (arrival < 0), text, arrival))
        columns = [(chunk.input_tokens, names.input, 1), (chunk.output_tokens, names.output, 0)]
        if chunk.cached_tokens is not None:
            columns.append((chunk.cached_tokens, names.cached, 0))
            over = chunk.cached_tokens > chunk.input_tokens
            found.append((over, f"{names.cached} is {{value:g}}, above {names.input}", chunk.cached_tokens))
        for values, name, least in columns:
            found += [(mask, text, values) for mask, text in _tokens_faults(values, name, least)]
        return found

    def _report(
        self, chunk: Chunk, bad: NDArray[np.bool_], faults: list[tuple[NDArray[np.bool_], str, Floats]]
    ) -> None:
        for i in np.flatnonzero(bad)[: EXAMPLES - len(self.examples)]:
            reasons = "; ".join(text.format(value=values[i]) for mask, text, values in faults if mask[i])
            raw = chunk.raw(int(i)).strip()
            shown = raw if len(raw) <= RAW_LENGTH else raw[:RAW_LENGTH] + "…"
            self.examples.append(f"{self.labels.row} {chunk.lines[int(i)]}: {reasons} (found {shown!r})")

    def _store(self, chunk: Chunk, which: slice | NDArray[np.bool_], n: int) -> None:
        end = self.count + n
        if end > self.capacity:
            self.reserve(max(end, 2 * self.capacity))
        if chunk.cached_tokens is not None and "cached_tokens" not in self._columns:
            self._columns["cached_tokens"] = np.zeros(self.capacity, np.int64)
        for name, column in self._columns.items():
            values = getattr(chunk, name)
            column[self.count : end] = 0 if values is None else values[which]
        self.count = end
