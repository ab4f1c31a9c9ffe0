"""Result file of `vllm bench serve --save-result --save-detailed`: one JSON object with a list for each quantity.

Send times (`start_times`) are written by recent versions only. Where they are missing, a run at infinite rate without
a concurrency limit sent everything at once; of any other run the arrivals are not known and the file is refused.
Failed requests have zero output tokens. Source: https://github.com/vllm-project/vllm, vllm/benchmarks/serve.py, 2026.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from wattlane.core.errors import FileFormatError, InputError
from wattlane.workload.formats import Format, Head
from wattlane.workload.rows import Chunk, Labels, Rows
from wattlane.workload.tabular import number


def _start_times(head: Head) -> list[Any]:
    body = head.record
    known = body.get("start_times")
    if isinstance(known, list):
        return known
    rate = body.get("request_rate")
    if rate in ("inf", math.inf) and body.get("max_concurrency") is None:
        return [0.0] * len(body["input_lens"])
    raise InputError(
        f"{head.path}: found no start_times for a run at request_rate {rate} and max_concurrency "
        f"{body.get('max_concurrency')}; expected the send time of each request; repeat the run with a vLLM that "
        "saves start_times, or at an infinite rate without a concurrency limit"
    )


def read(head: Head, rows: Rows) -> None:
    """Read the lists side by side; they must be of one length."""
    body: Mapping[str, Any] = head.record
    missing = [key for key in ("input_lens", "output_lens") if not isinstance(body.get(key), list)]
    if missing:
        raise FileFormatError(f"{head.path}: missing lists {', '.join(missing)}; run vllm bench with --save-detailed")
    columns = {"start_times": _start_times(head), **{key: body[key] for key in ("input_lens", "output_lens")}}
    if len({len(values) for values in columns.values()}) != 1:
        found = ", ".join(f"{key} has {len(values)}" for key, values in columns.items())
        raise FileFormatError(f"{head.path}: lists of unequal length: {found}; the file is damaged")
    values = [np.array([number(value) for value in column]) for column in columns.values()]
    entries = list(zip(*columns.values(), strict=True))
    rows.add(Chunk(values[0], values[1], values[2], range(len(entries)), lambda i: json.dumps(entries[i])))


FORMAT = Format(
    "vllm-bench",
    "result of vllm bench serve --save-result --save-detailed, JSON with input_lens, output_lens",
    lambda head: {"num_prompts", "total_input_tokens"} <= set(head.record) or "input_lens" in head.record,
    read,
    Labels("start_times", "input_lens", "output_lens", row="request"),
)
