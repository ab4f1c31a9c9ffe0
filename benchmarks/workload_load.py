"""Load a trace of a chosen size and report rows, seconds and peak memory: `python benchmarks/workload_load.py 5000000`.

The file has the columns of the Azure traces and is written to a temporary folder; it is loaded in a process of its
own, so that the peak is the loader's. The base is the peak of a process that loads a thousand rows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

WEEK_ROWS = 44_000_000
SLICE_ROWS = 1_000_000
LOAD = """
import json, resource, sys, time
from pathlib import Path
from wattlane.workload import load
started = time.perf_counter()
loaded = load(Path(sys.argv[1]))
seconds = time.perf_counter() - started
peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"rows": loaded.rows, "seconds": seconds, "peak_bytes": peak_bytes}))
"""


def write_trace(path: Path, rows: int) -> None:
    random = np.random.default_rng(0)
    start = np.datetime64("2024-05-10T00:00:00", "us")
    now_us = 0
    with path.open("wb") as file:
        for first in range(0, rows, SLICE_ROWS):
            n = min(SLICE_ROWS, rows - first)
            offsets_us = now_us + np.cumsum(random.exponential(604_800e6 / WEEK_ROWS, n)).astype(np.int64)
            now_us = int(offsets_us[-1])
            frame = pl.DataFrame(
                {
                    "TIMESTAMP": start + offsets_us,
                    "ContextTokens": random.integers(1, 8000, n),
                    "GeneratedTokens": random.integers(1, 600, n),
                }
            )
            frame.write_csv(file, include_header=first == 0, datetime_format="%Y-%m-%d %H:%M:%S%.6f+00:00")


def measure(folder: Path, rows: int) -> dict[str, float]:
    path = folder / f"trace-{rows}.csv"
    write_trace(path, rows)
    run = subprocess.run([sys.executable, "-c", LOAD, str(path)], check=True, capture_output=True, text=True)
    size_bytes = path.stat().st_size
    path.unlink()
    return {**json.loads(run.stdout), "file_bytes": size_bytes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="?", default=5_000_000)
    rows = parser.parse_args().rows
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        base = measure(Path(folder), 1000)["peak_bytes"]
        found = measure(Path(folder), rows)
    per_row = (found["peak_bytes"] - base) / found["rows"]
    found |= {
        "base_bytes": base,
        "bytes_per_row": per_row,
        "peak_gib": found["peak_bytes"] / 2**30,
        "peak_gib_at_44m_rows": (base + per_row * WEEK_ROWS) / 2**30,
        "total_seconds": time.perf_counter() - started,
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
