"""Mooncake traces: JSON lines of `timestamp` (ms), `input_length`, `output_length`, `hash_ids` (512-token blocks).

Time stamps of the published traces are quantised (3 s in the FAST'25 conversation trace), so gaps below that are not
to be read from them. `mooncake` leaves cached tokens at zero. `mooncake-prefix` counts the leading blocks that an
earlier request had, as a cache that never evicts would; at least one token stays to be computed.
Source: https://github.com/kvcache-ai/Mooncake, Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wattlane.workload.formats import Format, Head
from wattlane.workload.rows import Labels, Rows
from wattlane.workload.tabular import json_records, number, records_chunk

BLOCK_TOKENS = 512
KEYS = ("timestamp", "input_length", "output_length")
LABELS = Labels(*KEYS, cached="hash_ids × 512")


def _values(record: Mapping[str, Any]) -> tuple[float, ...]:
    stamp_ms, *lengths = (number(record.get(key)) for key in KEYS)
    return (stamp_ms / 1e3, *lengths)


def read(head: Head, rows: Rows) -> None:
    """Read the file without its prefix blocks."""
    rows.notes.append("time stamps of this source are quantised; add jitter before studying queues")
    for records in json_records(head.path):
        rows.add(records_chunk(records, _values))


def read_with_prefixes(head: Head, rows: Rows) -> None:
    """Read the file; cached tokens are those of an infinite prefix cache, in the order of the file."""
    rows.notes.append("cached tokens are those of a prefix cache that never evicts")
    seen: set[int] = set()

    def values(record: Mapping[str, Any]) -> tuple[float, ...]:
        blocks = record.get("hash_ids")
        found = blocks if isinstance(blocks, list) else []
        known = next((i for i, block in enumerate(found) if block not in seen), len(found))
        seen.update(found)
        arrival_s, input_tokens, output_tokens = _values(record)
        return arrival_s, input_tokens, output_tokens, max(0.0, min(known * BLOCK_TOKENS, input_tokens - 1))

    for records in json_records(head.path):
        rows.add(records_chunk(records, values))


FORMAT = Format(
    "mooncake",
    "Mooncake trace, JSONL with timestamp, input_length, output_length",
    lambda head: set(KEYS) <= set(head.record),
    read,
    LABELS,
)
PREFIX_FORMAT = Format(
    "mooncake-prefix",
    "the same, cached tokens from hash_ids as an infinite prefix cache gives them (named, never recognised)",
    lambda _head: False,
    read_with_prefixes,
    LABELS,
)
