"""What a workload is like: counts, rate, burstiness, token lengths, profile by the minute, correlation.

Standard deviations divide by n − 1; percentiles interpolate linearly; gap CV is the standard deviation of the
inter-arrival gaps over their mean (1 for a Poisson process).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattlane.core.workload import Workload

MINUTE_S = 60.0


def describe(workload: Workload) -> dict[str, Any]:
    """Return the description as plain values for JSON; what one request cannot tell is None."""
    gaps_s = np.diff(workload.arrival_s)
    burst = workload.span_s == 0
    return {
        "name": workload.name,
        "requests": len(workload),
        "span_s": workload.span_s,
        "rate_rps": None if burst else workload.rate_rps,
        "gap_cv": None if burst else gap_cv(workload.arrival_s),
        "longest_gap_s": float(gaps_s.max()) if len(gaps_s) else None,
        "input_tokens": lengths(workload.input_tokens),
        "output_tokens": lengths(workload.output_tokens),
        "cached_tokens_total": 0 if workload.cached_tokens is None else int(workload.cached_tokens.sum()),
        "input_output_correlation": {
            "pearson": _correlation(workload.input_tokens, workload.output_tokens),
            "spearman": _correlation(ranks(workload.input_tokens), ranks(workload.output_tokens)),
        },
        "distinct_length_pairs": distinct_pairs(workload),
        "requests_per_minute": requests_per_minute(workload.arrival_s).tolist(),
        "notes": list(workload.notes),
    }


def gap_cv(arrival_s: NDArray[np.float64]) -> float | None:
    """Return the coefficient of variation of the gaps; None below three arrivals or where all coincide."""
    gaps_s = np.diff(arrival_s)
    mean = gaps_s.mean() if len(gaps_s) > 1 else 0.0
    return float(gaps_s.std(ddof=1) / mean) if mean > 0 else None


def lengths(tokens: NDArray[np.int64]) -> dict[str, float | int | None]:
    """Return total, mean, standard deviation (n − 1), extremes and percentiles of a token column."""
    p50, p90, p95, p99 = (float(q) for q in np.quantile(tokens, (0.5, 0.9, 0.95, 0.99)))
    return {
        "total": int(tokens.sum()),
        "mean": float(tokens.mean()),
        "std": float(tokens.std(ddof=1)) if len(tokens) > 1 else None,
        "min": int(tokens.min()),
        "p50": p50,
        "p90": p90,
        "p95": p95,
        "p99": p99,
        "max": int(tokens.max()),
    }


def requests_per_minute(arrival_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the number of arrivals in each minute since the first arrival."""
    return np.bincount(((arrival_s - arrival_s[0]) // MINUTE_S).astype(np.int64)).astype(np.int64)


def distinct_pairs(workload: Workload) -> int:
    """Return how many different (input, output) length pairs occur."""
    width = int(workload.output_tokens.max()) + 1
    return len(np.unique(workload.input_tokens * width + workload.output_tokens))


def ranks(values: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ranks from 1, ties sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: NDArray[np.float64] = last - (counts - 1) / 2
    return mean[inverse.reshape(-1)]


def _correlation(x: NDArray[Any], y: NDArray[Any]) -> float | None:
    if len(x) < 2 or x.min() == x.max() or y.min() == y.max():
        return None
    return float(np.corrcoef(x, y)[0, 1])
