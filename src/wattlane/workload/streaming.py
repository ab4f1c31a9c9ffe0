"""A workload too long to hold, made or read window by window. Every window has a seed of its own and can be made alone.

A window is a number of requests: gaps of a renewal process are independent, so drawing them window by window is drawing
them at once, and a Poisson process that follows the day goes on at the hour at which the window before it ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from wattlane.core.errors import FileFormatError, InputError
from wattlane.core.files import existing
from wattlane.core.workload import Workload
from wattlane.workload.arrivals import process
from wattlane.workload.lengths import LENGTHS, draw
from wattlane.workload.spec import canonical, resolve

RENEWAL = ("deterministic", "poisson", "gamma", "weibull")
DAILY = "diurnal"
COLUMNS = ("arrival_s", "input_tokens", "output_tokens")


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests in order: `arrival` and `lengths` as `generate` takes them, or a Parquet file with a workload's columns.

    `requests` in all, in windows of `window_requests`.
    """

    requests: int
    window_requests: int
    arrival: str = ""
    lengths: str = ""
    file: Path | None = None
    seed: int = 0

    def windows(self, first: int = 0, now_s: float = 0.0) -> Iterator[Workload]:
        """Yield the windows from number `first` on; `now_s` is the last arrival before it."""
        for number in range(first, -(-self.requests // self.window_requests)):
            n = min(self.window_requests, self.requests - number * self.window_requests)
            window = self._read(number * self.window_requests, n) if self.file else self._made(number, n, now_s)
            now_s = float(window.arrival_s[-1])
            yield window

    def __str__(self) -> str:
        if self.file is not None:
            return self.file.name
        return f"{process(self.arrival)}; {canonical(*resolve('lengths', self.lengths, LENGTHS))}; seed {self.seed}"

    def _made(self, number: int, n: int, now_s: float) -> Workload:
        for_arrivals, for_lengths = np.random.SeedSequence(self.seed, spawn_key=(number,)).spawn(2)
        asked = process(self.arrival)
        values = asked.values | ({"start_s": asked.values["start_s"] + now_s} if asked.kind.name == DAILY else {})
        arrival_s = now_s + asked.kind.make(np.random.default_rng(for_arrivals), n, **values)
        drawn = draw(self.lengths, n, for_lengths)
        return Workload(arrival_s, drawn.input_tokens, drawn.output_tokens, drawn.cached_tokens, f"window {number}")

    def _read(self, at: int, n: int) -> Workload:
        assert self.file is not None
        frame = pl.scan_parquet(self.file).slice(at, n).select(COLUMNS).collect()
        arrival_s, input_tokens, output_tokens = (frame[name].to_numpy() for name in COLUMNS)
        return Workload(arrival_s, input_tokens, output_tokens, name=f"{self.file.name} from row {at}")


def made_stream(arrival: str, lengths: str, requests: int, window_requests: int, seed: int = 0) -> Stream:
    """Return a stream that is drawn.

    Raises:
        InputError: a spec is wrong, or the arrivals have a memory that a window cannot take up.
    """
    found = process(arrival)
    resolve("lengths", lengths, LENGTHS)
    if found.window_s or found.kind.name not in (*RENEWAL, DAILY):
        raise InputError(
            f"arrival {found}: a stream is drawn window by window; expected one of {', '.join((*RENEWAL, DAILY))}"
        )
    stream = Stream(requests, window_requests, arrival, lengths, seed=seed)
    next(iter(Stream(1, 1, arrival, lengths, seed=seed).windows()))  # values out of range are told here
    return stream


def read_stream(path: Path, window_requests: int) -> Stream:
    """Return a stream that is read from a Parquet file in order of arrival.

    Raises:
        FileFormatError: not a Parquet file, or a column is missing.
        InputError: the file holds no requests.
    """
    try:
        names = pl.read_parquet_schema(existing(path))
        rows = pl.scan_parquet(path).select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise FileFormatError(
            f"{path}: not a readable Parquet file ({error}); a stream is read from no other"
        ) from error
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise FileFormatError(f"{path}: missing columns {', '.join(missing)}; found {', '.join(names)}")
    if rows == 0:
        raise InputError(f"{path}: found no requests; expected at least 1")
    return Stream(rows, window_requests, file=path)
