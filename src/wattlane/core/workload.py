"""A workload: requests in columns, ordered by arrival.

The file form (CSV, JSONL, Parquet) is read and written by `wattlane.workload`; this is the noun all packages share.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.core.release import window_end
from wattlane.core.types import Request


@dataclass(frozen=True, eq=False)
class Workload:
    """Columns of equal length n: `arrival_s` float64 ascending, the token columns int64.

    With a `release_window_s` above 0 each request is held to the end of the window in which it arrives (`release_s`).

    Raises:
        InputError: a column is empty, of another length, negative, not finite, or arrivals are not ascending.
    """

    arrival_s: NDArray[np.float64]
    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    cached_tokens: NDArray[np.int64] | None = None
    name: str = "workload"
    notes: tuple[str, ...] = field(default=())
    release_window_s: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "arrival_s", np.ascontiguousarray(self.arrival_s, dtype=np.float64))
        object.__setattr__(self, "input_tokens", np.ascontiguousarray(self.input_tokens, dtype=np.int64))
        object.__setattr__(self, "output_tokens", np.ascontiguousarray(self.output_tokens, dtype=np.int64))
        cached = np.zeros(len(self.arrival_s), np.int64) if self.cached_tokens is None else self.cached_tokens
        object.__setattr__(self, "cached_tokens", np.ascontiguousarray(cached, dtype=np.int64))
        problems = list(self._problems())
        if problems:
            raise InputError.gathered(self.name, problems)

    def _problems(self) -> Iterator[str]:
        n = len(self.arrival_s)
        if n == 0:
            yield "found no requests; expected at least 1"
            return
        for column, least in (("input_tokens", 1), ("output_tokens", 1), ("cached_tokens", 0)):
            values = getattr(self, column)
            if len(values) != n:
                yield f"{column} has {len(values)} values; expected {n}, one for each arrival"
            elif values.min() < least:
                yield f"{column} holds {values.min()} at row {int(values.argmin())}; expected at least {least}"
        if not 0 <= self.release_window_s < float("inf"):
            yield f"release_window_s is {self.release_window_s}; expected seconds of at least 0"
        if not np.isfinite(self.arrival_s).all():
            yield "arrival_s holds a value that is not finite; expected seconds"
        elif n > 1 and np.diff(self.arrival_s).min() < 0:
            yield f"arrival_s falls at row {int(np.diff(self.arrival_s).argmin()) + 1}; expected ascending arrivals"

    def __len__(self) -> int:
        return len(self.arrival_s)

    def __iter__(self) -> Iterator[Request]:
        assert self.cached_tokens is not None
        for i in range(len(self)):
            yield Request(
                i,
                float(self.arrival_s[i]),
                int(self.input_tokens[i]),
                int(self.output_tokens[i]),
                int(self.cached_tokens[i]),
            )

    @property
    def release_s(self) -> NDArray[np.float64]:
        """When each request is let through to the engine, seconds, ascending: its arrival, or the end of its window."""
        if self.release_window_s == 0:
            return self.arrival_s
        held = (window_end(arrival_s, self.release_window_s) for arrival_s in self.arrival_s.tolist())
        return np.fromiter(held, np.float64, len(self))

    @property
    def span_s(self) -> float:
        """Last arrival minus first arrival, seconds."""
        return float(self.arrival_s[-1] - self.arrival_s[0])

    @property
    def rate_rps(self) -> float:
        """Mean arrival rate, requests per second; infinite for a burst."""
        return len(self) / self.span_s if self.span_s > 0 else float("inf")

    def __repr__(self) -> str:
        return (
            f"Workload({self.name}: {len(self):,} requests over {self.span_s:,.0f} s, "
            f"{self.input_tokens.mean():,.0f} in / {self.output_tokens.mean():,.0f} out tokens)"
        )

    def take(self, rows: NDArray[np.int64], arrival_s: NDArray[np.float64], name: str | None = None) -> Workload:
        """Return the chosen rows with new (ascending) arrivals: resampling and scaling build on this."""
        assert self.cached_tokens is not None
        return Workload(
            arrival_s,
            self.input_tokens[rows],
            self.output_tokens[rows],
            self.cached_tokens[rows],
            name or self.name,
            self.notes,
            self.release_window_s,
        )
