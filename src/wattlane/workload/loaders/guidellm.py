"""GuideLLM's `benchmarks.json`: one benchmark whose `requests` are grouped by outcome.

Arrival is the request's start (Unix time, s); its place moved between versions: `request_start_time`,
`info.timings.request_start`, `scheduler_info.request_timings.request_start`, `start_time`. Requests that did not
succeed count as rows without output. A file of several benchmarks is refused: each is a workload of its own.
Source: https://github.com/vllm-project/guidellm, schemas of benchmark and request statistics, 2024-2026.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from wattlane.core.errors import FileFormatError, InputError
from wattlane.workload.formats import Format, Head
from wattlane.workload.rows import Labels, Rows
from wattlane.workload.tabular import number, records_chunk

STARTS = (
    ("request_start_time",),
    ("info", "timings", "request_start"),
    ("scheduler_info", "request_timings", "request_start"),
    ("start_time",),
)


def _at(record: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        record = record.get(key) if isinstance(record, Mapping) else None
    return record


def _values(record: Mapping[str, Any]) -> tuple[float, ...]:
    starts = (number(_at(record, path)) for path in STARTS)
    start_s = next((start for start in starts if math.isfinite(start)), math.nan)
    return start_s, number(record.get("prompt_tokens")), number(record.get("output_tokens"))


def read(head: Head, rows: Rows) -> None:
    """Read the successful requests of the only benchmark in the file."""
    found = head.record["benchmarks"]
    if not isinstance(found, list) or len(found) != 1:
        count = len(found) if isinstance(found, list) else "no list of"
        raise InputError(
            f"{head.path}: found {count} benchmarks; expected 1, as each is a workload of its own; keep one, such as "
            f"with: jq '.benchmarks |= [.[0]]' {head.path.name}"
        )
    requests = _at(found[0], ("requests",))
    successful = _at(requests, ("successful",))
    if not isinstance(successful, list):
        raise FileFormatError(f"{head.path}: found no benchmarks[0].requests.successful; expected a list of requests")
    for outcome in ("incomplete", "errored"):
        lost = requests.get(outcome)
        rows.zero_output += len(lost) if isinstance(lost, list) else 0
    records = [
        (i, json.dumps(record), record if isinstance(record, Mapping) else {}) for i, record in enumerate(successful)
    ]
    if records:
        rows.add(records_chunk(records, _values))


FORMAT = Format(
    "guidellm",
    "GuideLLM benchmarks.json, JSON with benchmarks[0].requests.successful",
    lambda head: "benchmarks" in head.record,
    read,
    Labels("request_start_time", "prompt_tokens", "output_tokens", row="request"),
)
