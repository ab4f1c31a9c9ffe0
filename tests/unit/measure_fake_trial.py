"""A runner that writes the files of a measurement without an engine: every figure follows from its arguments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from wattlane.core.files import write_json
from wattlane.core.served import write_served
from wattlane.measure.campaigns.trials import Trial

Window = Callable[[Trial], float]
GRID = """
name = "g"
target = "fake:precision={precision},batch={batch}"
[workload]
text = "burst:n=4,input=8,output=3"
[factors]
precision = ["F16", "Q8_0"]
batch = [1, 2, 4]
[repeats]
at_least = 3
"""


def served_table(arrival_s, input_tokens, output_tokens, e2e_s, energy_j=None):
    """Requests that take `e2e_s` each: the first token after half of it, the rest in equal gaps."""
    n = len(arrival_s)
    e2e = np.broadcast_to(np.asarray(e2e_s, float), (n,))
    gaps = [
        np.full(max(int(tokens) - 1, 0), e / 2 / max(int(tokens) - 1, 1))
        for tokens, e in zip(output_tokens, e2e, strict=True)
    ]
    energy = [None] * n if energy_j is None else list(np.broadcast_to(np.asarray(energy_j, float) / 2, (n,)))
    return pl.DataFrame(
        {
            "request_id": np.arange(n),
            "class": ["all"] * n,
            "arrival_s": np.asarray(arrival_s, float),
            "release_s": np.asarray(arrival_s, float),
            "first_token_s": np.asarray(arrival_s, float) + e2e / 2,
            "end_s": np.asarray(arrival_s, float) + e2e,
            "input_tokens": np.asarray(input_tokens, np.int64),
            "cached_tokens": np.zeros(n, np.int64),
            "output_tokens": np.asarray(output_tokens, np.int64),
            "outcome": ["completed"] * n,
            "replica": np.zeros(n, np.int64),
            "prefill_j": pl.Series(energy, dtype=pl.Float64),
            "decode_j": pl.Series(energy, dtype=pl.Float64),
            "idle_j": pl.Series([None] * n, dtype=pl.Float64),
            "gaps_s": pl.Series([list(g) for g in gaps], dtype=pl.List(pl.Float64)),
        }
    )


def energy_entry(energy_j):
    status = "absent" if energy_j is None else "measured"
    known = None if energy_j is None else energy_j
    return {
        "energy_j": known,
        "energy_j_lo": None if known is None else known - 1.0,
        "energy_j_hi": None if known is None else known + 1.0,
        "error_parts": {},
        "source": None if known is None else "fake counter",
        "boundary": None if known is None else "gpu",
        "status": status,
        "duration_s": 1.0,
        "tokens": 1,
    }


def write_run(folder: Path, served, window_s, energy_j=None, *, reasons=(), engine=None, boundary=None):
    """Write served.parquet and measurement.json; a reason `interrupted...` or `failed...` makes it invalid."""
    folder.mkdir(parents=True, exist_ok=True)
    write_served(folder / "served.parquet", served)
    entry = energy_entry(energy_j)
    if boundary:
        entry["boundary"] = boundary
    done = served.filter(pl.col("outcome") == "completed")
    bad = [reason for reason in reasons if reason.startswith(("interrupted", "failed", "engine_ended"))]
    body = {
        "target": "fake",
        "engine": engine or {"name": "fake", "version": "1", "options": {"precision": "F16"}, "kv_cache": True},
        "workload": {"name": "w", "requests": len(served), "span_s": 1.0},
        "valid": not bad,
        "complete": not bad,
        "reasons": list(reasons),
        "requests": len(served),
        "failed": len(served) - len(done),
        "tokens": {"input": int(done["input_tokens"].sum()), "output": int(done["output_tokens"].sum())},
        "window_s": window_s,
        "energy": entry,
        "idle_w": None,
        "phases": {
            "prefill": energy_entry(energy_j and energy_j / 4),
            "decode": energy_entry(energy_j and energy_j * 0.75),
        },
        "latency": {"requests": len(served), "failed": 0, "ttft_p50_s": 0.1, "ttft_p99_s": 0.2, "slo_attainment": 1.0},
        "slo": {"ttft_s": 1.0, "tbt_s": 0.1, "attainment": 0.99},
        "cpu_seconds": None,
        "host": {"cores": 2},
        "provenance": {"version": "0", "seed": 0, "inputs": {}, "laws": {}},
    }
    write_json(folder / "measurement.json", "measurement", body)


class FakeRunner:
    """Calls `window_s(trial)` for the seconds of each trial; remembers the order of the trials it ran."""

    def __init__(self, window_s: Window = lambda _trial: 1.0, power_w: float | None = None, fails=lambda _trial: None):
        self.window_s = window_s
        self.power_w = power_w
        self.fails = fails
        self.ran: list[tuple[str, int]] = []

    def __call__(self, trial: Trial, folder: Path) -> None:
        self.ran.append((trial.cell.name, trial.number))
        error = self.fails(trial)
        if error is not None:
            raise error
        load = trial.cell.load.workload(trial.cell.seed)
        window_s = self.window_s(trial)
        energy_j = None if self.power_w is None else self.power_w * window_s
        table = served_table(load.arrival_s, load.input_tokens, load.output_tokens, window_s)
        write_run(folder, table, window_s, energy_j)
