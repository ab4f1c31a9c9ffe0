"""The response of Prometheus' `/api/v1/query_range` into series of numbers.

{"status": "success", "data": {"resultType": "matrix",
 "result": [{"metric": {"__name__": "…", "le": "10"}, "values": [[1700000000, "42"], …]}, …]}}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Series:
    """One time series: its labels without the name, ascending sample times (Unix) and finite values."""

    labels: Mapping[str, str]
    time_s: Floats
    values: Floats


def series_of(metric: str, response: Any, problems: list[str]) -> list[Series]:
    """Return the series of one response; what is wrong with it is added to `problems`."""
    if not isinstance(response, dict):
        problems.append(f"{metric}: found a JSON {type(response).__name__}; expected a query_range response")
        return []
    if response.get("status") != "success":
        reason = response.get("error", "no reason given")
        problems.append(f"{metric}: the response has status {response.get('status')!r} ({reason}); expected 'success'")
        return []
    data = response.get("data")
    if not isinstance(data, dict) or data.get("resultType") != "matrix" or not isinstance(data.get("result"), list):
        kind = data.get("resultType") if isinstance(data, dict) else type(data).__name__
        problems.append(
            f"{metric}: found a result of type {kind!r}; expected 'matrix', which /api/v1/query_range gives"
        )
        return []
    found = []
    for number, result in enumerate(data["result"]):
        try:
            found.append(_series(result))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            problems.append(f"{metric}: series {number} is not readable ({error!r}); expected metric and values")
    return [series for series in found if len(series.values)]


def by_name(response: Any) -> str | None:
    """Return the metric name the series of a response carry, None if they carry none."""
    try:
        name = response["data"]["result"][0]["metric"]["__name__"]
    except (KeyError, IndexError, TypeError):
        return None
    return str(name)


def sample_times(series: Iterable[Series]) -> Floats:
    """Return all sample times, ascending and without repeats."""
    times: Floats = np.unique(np.concatenate([one.time_s for one in series]))
    return times


def _series(result: Mapping[str, Any]) -> Series:
    labels = {str(key): str(value) for key, value in result["metric"].items() if key != "__name__"}
    time_s = np.array([float(time) for time, _ in result["values"]], dtype=np.float64)
    values = np.array([float(value) for _, value in result["values"]], dtype=np.float64)
    if (np.diff(time_s) <= 0).any():
        raise ValueError("sample times do not ascend")
    finite = np.isfinite(values)
    return Series(labels, time_s[finite], values[finite])
