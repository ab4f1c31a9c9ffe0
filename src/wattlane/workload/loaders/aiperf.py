"""AIPerf's per-request export `profile_export.jsonl`: one object a line with `metadata` and `metrics`.

Arrival is `request_start_ns`; lengths are `input_sequence_length` and `output_sequence_length` (reasoning tokens
included). Warm-up requests are left out; failed and cancelled ones count as rows without output.
Source: https://docs.nvidia.com/aiperf, "Working with profile export files", 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wattlane.workload.formats import Format, Head
from wattlane.workload.rows import Labels, Rows
from wattlane.workload.tabular import json_records, number, records_chunk


def _metric(record: Mapping[str, Any], name: str) -> float:
    metrics = record.get("metrics")
    found = metrics.get(name) if isinstance(metrics, Mapping) else None
    return number(found.get("value") if isinstance(found, Mapping) else found)


def _metadata(record: Mapping[str, Any]) -> Mapping[str, Any]:
    found = record.get("metadata")
    return found if isinstance(found, Mapping) else {}


def read(head: Head, rows: Rows) -> None:
    """Read the profiling phase."""
    origin_ns = _metadata(head.record).get("request_start_ns")
    warm_up = 0

    def values(record: Mapping[str, Any]) -> tuple[float, ...]:
        start_ns = _metadata(record).get("request_start_ns")
        since_ns = start_ns - origin_ns if isinstance(start_ns, int) and isinstance(origin_ns, int) else start_ns
        lengths = (_metric(record, f"{side}_sequence_length") for side in ("input", "output"))
        return (number(since_ns) / 1e9, *lengths)

    for records in json_records(head.path):
        profiled = [entry for entry in records if _metadata(entry[2]).get("benchmark_phase") != "warmup"]
        warm_up += len(records) - len(profiled)
        served = [entry for entry in profiled if not _was_lost(entry[2])]
        rows.zero_output += len(profiled) - len(served)
        if served:
            rows.add(records_chunk(served, values))
    if warm_up:
        rows.notes.append(f"{warm_up} warm-up requests left out")


def _was_lost(record: Mapping[str, Any]) -> bool:
    return record.get("error") is not None or _metadata(record).get("was_cancelled") is True


FORMAT = Format(
    "aiperf",
    "AIPerf profile_export.jsonl, JSONL with metadata.request_start_ns and metrics",
    lambda head: "request_start_ns" in _metadata(head.record),
    read,
    Labels("request_start_ns", "input_sequence_length", "output_sequence_length"),
    signed=True,
)
