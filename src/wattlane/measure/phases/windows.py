"""Windows for the regression: tokens of each phase counted from served rows.

One drive of one load point is one window: it begins and ends idle, so every token of it falls inside. A long run can
instead be cut at given instants; prompt tokens are then spread evenly over the request's prefill [first − server
prefill, first], or over [sent, first] where the server reports no time, and each later token counts where it came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wattlane.core.errors import InputError, MeasurementError
from wattlane.core.types import Outcome
from wattlane.measure.account import Energy
from wattlane.measure.energy.budget import Z
from wattlane.measure.phases.regression import LoadWindow
from wattlane.measure.verdict import FAILED_LIMIT

if TYPE_CHECKING:
    import polars as pl

Counts = NDArray[np.float64]


def window_of(table: pl.DataFrame, point: str, duration_s: float, energy: Energy) -> LoadWindow:
    """Return the window of one whole drive.

    Args:
        table: served rows of the drive.
        point: name of the load point.
        duration_s: length of the window.
        energy: of the same window; its interval is taken as one of 95 %.

    Raises:
        MeasurementError: energy is absent, more than 1 % of requests failed, or tokens are not known.
    """
    prefill, decode, requests = tokens_of(table, point)
    if energy.budget is None:
        raise MeasurementError(f"{point}: energy of the window is absent; expected a meter or assumed watts")
    se_j = energy.budget.own_half / Z
    return LoadWindow(point, duration_s, prefill, decode, energy.budget.value, se_j if se_j > 0 else None, requests)


def tokens_of(table: pl.DataFrame, what: str) -> tuple[float, float, float]:
    """Return (prefill tokens without cached ones, tokens after the first of each request, requests) of whole drives.

    Raises:
        MeasurementError: more than 1 % of requests failed, or tokens are not known.
    """
    done = _done(table, what)
    decode = np.maximum(done["output_tokens"].to_numpy() - 1, 0)
    return float(_prompts(done).sum()), float(decode.sum()), float(len(done))


def count_in_windows(table: pl.DataFrame, edges_s: ArrayLike) -> tuple[Counts, Counts]:
    """Return (prefill tokens, decode tokens) of each window between consecutive `edges_s`, shape (windows,).

    Raises:
        InputError: fewer than two edges, or edges that do not ascend.
        MeasurementError: more than 1 % of requests failed, or tokens are not known.
    """
    edges = np.asarray(edges_s, dtype=np.float64)
    if edges.ndim != 1 or len(edges) < 2 or np.diff(edges).min() <= 0:
        raise InputError(f"edges_s has shape {edges.shape}; expected at least 2 ascending instants")
    done = _done(table, "run")
    first = done["first_token_s"].to_numpy()
    started = done["started_s"].to_numpy() if "started_s" in done.columns else done["release_s"].to_numpy()
    begin = started
    if "server_prefill_s" in done.columns:
        reported = done["server_prefill_s"].cast(float).to_numpy()
        begin = np.where(np.isfinite(reported), np.maximum(first - reported, started), started)
    length = np.maximum(first - begin, 1e-9)
    passed = np.clip((edges[:, None] - begin) / length, 0.0, 1.0) @ _prompts(done)
    decoded = np.zeros(len(edges))
    for first_s, gaps_s, tokens in zip(first, done["gaps_s"].to_list(), done["output_tokens"].to_list(), strict=True):
        decoded += _decoded(float(first_s), gaps_s or [], int(tokens), edges)
    return np.diff(passed), np.diff(decoded)


def _prompts(done: pl.DataFrame) -> Counts:
    """Return prompt tokens that were computed, without cached ones, for each request."""
    return (done["input_tokens"] - done["cached_tokens"].fill_null(0)).to_numpy().astype(np.float64)


def _decoded(first_s: float, gaps_s: Sequence[float], tokens: int, edges: Counts) -> Counts:
    """Return how many tokens after the first came by each edge; chunks of several tokens share them evenly."""
    if tokens < 2 or not gaps_s:
        return np.zeros(len(edges))
    arrivals = first_s + np.cumsum(np.asarray(gaps_s, dtype=np.float64))
    return np.searchsorted(arrivals, edges, side="right").astype(np.float64) * ((tokens - 1) / len(arrivals))


def _done(table: pl.DataFrame, what: str) -> pl.DataFrame:
    done = table.filter(table["outcome"] == Outcome.COMPLETED.value)
    failed = len(table) - len(done)
    if not len(table) or failed > FAILED_LIMIT * len(table):
        raise MeasurementError(
            f"{what}: {failed} of {len(table)} requests did not complete; their work is in the energy and not in the "
            f"counts; expected at most {FAILED_LIMIT:.0%}"
        )
    unknown = max(done[name].null_count() for name in ("input_tokens", "output_tokens"))
    if unknown:
        raise MeasurementError(f"{what}: {unknown} requests came without usage; expected token counts of each")
    return done
