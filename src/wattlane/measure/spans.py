"""Split a run in time: when were prompts read, when were tokens written, when both, when nothing.

For each request that got a first token at f and ended at e:

    prefill = [f − server_prefill_s, f]   where the server reports its prefill time (llama.cpp `timings`)
            = [started, f]                otherwise; waiting in the server's queue is then inside
    decode  = [f, e]

Over all requests these intervals overlap, because a batching server reads one prompt while it writes for others. Their
union is the time a phase was active; the time both were active belongs to neither alone and is reported as such.
Summed per-request times are not busy time and are not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

Times = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Spans:
    """Seconds of a window of `window_s` in which only prefill, only decode, or both were active."""

    prefill_only_s: float
    decode_only_s: float
    both_s: float
    window_s: float
    method: str

    @property
    def busy_s(self) -> float:
        """Seconds in which anything was active."""
        return self.prefill_only_s + self.decode_only_s + self.both_s

    @property
    def idle_s(self) -> float:
        """Seconds of the window in which nothing was active."""
        return max(self.window_s - self.busy_s, 0.0)

    @property
    def prefill_s(self) -> float:
        """Seconds in which prefill was active, alone or not."""
        return self.prefill_only_s + self.both_s

    @property
    def decode_s(self) -> float:
        """Seconds in which decode was active, alone or not."""
        return self.decode_only_s + self.both_s


def find_spans(table: pl.DataFrame, window_s: float) -> Spans:
    """Return how the run of a served table divides; `window_s` is the length of the run."""
    seen = table.filter(table["first_token_s"].is_not_null() & table["end_s"].is_not_null())
    first, end = seen["first_token_s"].to_numpy(), seen["end_s"].to_numpy()
    started = seen["started_s"].to_numpy()
    reported = seen["server_prefill_s"].to_numpy()
    has_report = np.isfinite(reported)
    begin = np.where(has_report, np.maximum(first - np.where(has_report, reported, 0.0), started), started)
    method = "server timings" if len(seen) and has_report.all() else "time to first token"
    if has_report.any() and not has_report.all():
        method = f"server timings for {int(has_report.sum())} requests, time to first token for the rest"
    prefill_only, decode_only, both = _overlaps(begin, first, end)
    return Spans(prefill_only, decode_only, both, window_s, method)


def _overlaps(begin: Times, first: Times, end: Times) -> tuple[float, float, float]:
    """Return seconds of prefill alone, decode alone and both, for intervals [begin, first] and [first, end]."""
    times = np.concatenate((begin, first, first, end))
    n = len(begin)
    ones, none = np.ones(n), np.zeros(n)
    prefill = np.concatenate((ones, -ones, none, none))
    decode = np.concatenate((none, none, ones, -ones))
    order = np.argsort(times, kind="stable")
    length = np.diff(times[order], append=times.max() if n else 0.0)
    in_prefill = np.cumsum(prefill[order]) > 0.5
    in_decode = np.cumsum(decode[order]) > 0.5
    return (
        float(length[in_prefill & ~in_decode].sum()),
        float(length[in_decode & ~in_prefill].sum()),
        float(length[in_prefill & in_decode].sum()),
    )
