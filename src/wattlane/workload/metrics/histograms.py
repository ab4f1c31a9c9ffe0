"""Histories of a token histogram: requests for each step and bucket, and the exact tokens if a sum is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.workload.metrics.counters import Grid, Increases, increases
from wattlane.workload.metrics.responses import Floats, Series

Group = frozenset[tuple[str, str]]
ONE_TWO_FIVE = (1, 2, 5, 10)


@dataclass(frozen=True, eq=False, slots=True)
class TokenHistory:
    """Requests by step and bucket, shape (steps, buckets); bucket k holds lo_tokens[k] … hi_tokens[k] tokens.

    The last bucket has no upper bound: `hi_tokens[-1]` is the stated cap. `sum_tokens` is the exact number of tokens of
    each step, None if the sum was not recorded.
    """

    requests: Floats
    lo_tokens: NDArray[np.int64]
    hi_tokens: NDArray[np.int64]
    sum_tokens: Floats | None
    mended: Increases


def token_history(
    metric: str,
    buckets: Sequence[Series],
    sums: Sequence[Series],
    grid: Grid,
    cap_tokens: int | None,
    problems: list[str],
) -> TokenHistory | None:
    """Return the history, or None after adding to `problems` what is wrong with the buckets.

    Each group of labels without `le` is one process; its buckets and its sum restart together.
    """
    groups = _grouped(buckets)
    bounds = sorted({tuple(sorted(columns)) for columns in groups.values()})
    if len(bounds) != 1:
        shown = " and ".join(f"{len(one)} ending {', '.join(f'{le:g}' for le in one[-3:])}" for one in bounds)
        problems.append(
            f'{metric}: servers have different buckets ({shown}); expected one set: select one model, as model_name="…"'
        )
        return None
    if len(bounds[0]) < 2 or not np.isinf(bounds[0][-1]):
        problems.append(f"{metric}: found buckets {bounds[0]}; expected label le with at least one bound and +Inf")
        return None
    sum_of = {_group(one): one for one in sums}
    with_sum = set(sum_of) >= set(groups)
    parts = []
    for group, columns in groups.items():
        part = _process(columns, sum_of[group] if with_sum else None, grid)
        if part is None:
            problems.append(f"{metric}: the series of {dict(group)} share no sample time; query them with one step")
            return None
        parts.append(part)
    mended = parts[0]
    for part in parts[1:]:
        mended = mended + part
    cumulative = np.maximum.accumulate(mended.values[:, -len(bounds[0]) :], axis=1)
    lo, hi = _ranges(np.array(bounds[0]), cap_tokens)
    sum_tokens = mended.values[:, 0] if with_sum else None
    return TokenHistory(np.diff(cumulative, axis=1, prepend=0.0), lo, hi, sum_tokens, mended)


def default_cap(last_bound: float) -> int:
    """Return the bound that would follow in the series 1, 2, 5, 10, …: vLLM's context length lies below it."""
    magnitude = 10 ** int(np.floor(np.log10(max(last_bound, 1.0))))
    return next(int(factor * magnitude) for factor in ONE_TWO_FIVE if factor * magnitude > last_bound)


def _ranges(bounds: Floats, cap_tokens: int | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    last = bounds[-2]
    cap = default_cap(last) if cap_tokens is None else cap_tokens
    hi = np.maximum(np.floor(np.append(bounds[:-1], max(cap, last + 1))), 1).astype(np.int64)
    lo = np.minimum(np.concatenate(([1], hi[:-1] + 1)), hi)
    return lo, hi


def _group(series: Series) -> Group:
    return frozenset((key, value) for key, value in series.labels.items() if key != "le")


def _grouped(buckets: Sequence[Series]) -> Mapping[Group, dict[float, Series]]:
    groups: dict[Group, dict[float, Series]] = {}
    for series in buckets:
        try:
            bound = float(series.labels.get("le", "nan"))
        except ValueError:
            bound = float("nan")
        groups.setdefault(_group(series), {})[bound] = series
    return groups


def _process(columns: Mapping[float, Series], total: Series | None, grid: Grid) -> Increases | None:
    ordered = [columns[bound] for bound in sorted(columns)]
    ordered = ordered if total is None else [total, *ordered]
    shared = ordered[0].time_s
    for series in ordered[1:]:
        shared = np.intersect1d(shared, series.time_s)
    if len(shared) == 0:
        return None
    values = np.stack([one.values[np.searchsorted(one.time_s, shared)] for one in ordered], axis=1)
    return increases(shared, values, grid)
