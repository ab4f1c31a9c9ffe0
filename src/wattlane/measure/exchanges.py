"""Turn recorded exchanges into rows of `served.parquet`.

Beside the shared columns each row holds:

    offered_s, started_s            when the request was due (its arrival or, held, its release) and when it was sent
    asked_input_tokens, asked_output_tokens   what the workload asked for
    chunks, gaps_complete           chunks with text; whether gaps_s has one gap per token after the first
    server_prefill_s, server_decode_s   the server's own times, where it reports them (llama.cpp)
    finish_reason, http_status, error

`gaps_s` holds the gaps between chunks with text, as observed. Where a chunk carried several tokens there are fewer
gaps than tokens; none is invented, and `gaps_complete` is false.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wattlane.core.types import Outcome
from wattlane.core.workload import Workload
from wattlane.measure.client import Exchange

if TYPE_CHECKING:
    import polars as pl

ONE_CLASS = "all"


def to_table(workload: Workload, exchanges: Sequence[Exchange], start_s: float) -> pl.DataFrame:
    """Return one row per request; times are seconds since `start_s`, what is not known is null."""
    import polars as pl

    rows = [
        _row(request.request_id, request.arrival_s, exchange, start_s)
        | {"asked_input_tokens": request.input_tokens, "asked_output_tokens": request.output_tokens, "offered_s": due_s}
        for request, due_s, exchange in zip(workload, workload.release_s.tolist(), exchanges, strict=True)
    ]
    return pl.DataFrame(rows, schema=_schema())


def _row(request_id: int, arrival_s: float, exchange: Exchange, start_s: float) -> dict[str, Any]:
    sent_s = _since(exchange.sent_s, start_s)
    gaps_s = np.diff(np.array(exchange.text_s, dtype=np.float64)).tolist()
    tokens = exchange.output_tokens
    return {
        "request_id": request_id,
        "class": ONE_CLASS,
        "arrival_s": arrival_s,
        "release_s": sent_s,
        "first_token_s": _since(_first_token_s(exchange), start_s),
        "end_s": _since(exchange.end_s, start_s),
        "input_tokens": exchange.input_tokens,
        "cached_tokens": exchange.cached_tokens,
        "output_tokens": tokens,
        "outcome": exchange.outcome.value,
        "replica": 0,
        "prefill_j": None,
        "decode_j": None,
        "idle_j": None,
        "gaps_s": gaps_s,
        "started_s": sent_s,
        "chunks": len(exchange.text_s),
        "gaps_complete": tokens is not None and len(gaps_s) == max(tokens - 1, 0),
        "server_prefill_s": None if exchange.prompt_ms is None else exchange.prompt_ms / 1e3,
        "server_decode_s": None if exchange.predicted_ms is None else exchange.predicted_ms / 1e3,
        "finish_reason": exchange.finish_reason,
        "http_status": exchange.http_status,
        "error": exchange.error,
    }


def _first_token_s(exchange: Exchange) -> float | None:
    """Return when text first came; a completed request whose tokens spell no text is dated by its finish chunk."""
    if exchange.text_s:
        return exchange.text_s[0]
    if exchange.outcome is Outcome.COMPLETED:
        return exchange.finish_s if exchange.finish_s is not None else exchange.end_s
    return None


def _since(time_s: float | None, start_s: float) -> float | None:
    return None if time_s is None else time_s - start_s


def _schema() -> dict[str, Any]:
    import polars as pl

    seconds = ("arrival_s", "release_s", "first_token_s", "end_s")
    tokens = ("input_tokens", "cached_tokens", "output_tokens")
    return {
        "request_id": pl.Int64,
        "class": pl.String,
        **dict.fromkeys(seconds, pl.Float64),
        **dict.fromkeys(tokens, pl.Int64),
        "outcome": pl.String,
        "replica": pl.Int64,
        **dict.fromkeys(("prefill_j", "decode_j", "idle_j"), pl.Float64),
        "gaps_s": pl.List(pl.Float32),
        **dict.fromkeys(("offered_s", "started_s"), pl.Float64),
        **dict.fromkeys(("asked_input_tokens", "asked_output_tokens", "chunks"), pl.Int64),
        "gaps_complete": pl.Boolean,
        **dict.fromkeys(("server_prefill_s", "server_decode_s"), pl.Float64),
        "finish_reason": pl.String,
        "http_status": pl.Int64,
        "error": pl.String,
    }
