"""How fast predictions by table are: `python benchmarks/predict_speed.py`. Prints a table, writes nothing kept.

A million cases over 216 deployments (4 models, 3 GPUs, 3 parallelisms, 2 precisions, 3 clocks), batches and lengths
drawn with a seed; 7 quantities a case with their 95 % intervals. One thread, kernels compiled before. CPU seconds are
the process's own: on a busy machine they say what one core needs. The peer is the loop over single cases of the same
rows, with the same intervals, and with intervals from 200 draws. Reading and writing the file is apart.
"""

from __future__ import annotations

import os

os.environ["POLARS_MAX_THREADS"] = os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

MODELS = (
    "meta-llama/Llama-3.1-8B-Instruct",
    "Qwen/Qwen3-8B",
    "Qwen/Qwen3-30B-A3B-Instruct-2507",
    "meta-llama/Llama-3.1-70B-Instruct",
)


def cases(rows: int) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "model": rng.choice(MODELS, rows),
            "gpu": rng.choice(["H100", "B200", "H200"], rows),
            "tp": rng.choice([2, 4, 8], rows),
            "precision": rng.choice(["bf16", "fp8"], rows),
            "batch": rng.integers(1, 128, rows),
            "input_tokens": rng.integers(16, 2048, rows),
            "output_tokens": rng.integers(16, 1024, rows),
            "clock_hz": rng.choice([1.2e9, 1.5e9, 1.7e9], rows),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    from wattlane.core.facts.gpus import gpu
    from wattlane.core.facts.models import model
    from wattlane.model.laws.phase import Case
    from wattlane.model.predict import predict
    from wattlane.model.predict_file import predict_file
    from wattlane.model.predict_table import predict_table

    table = cases(arguments.rows)
    predict_table(table[:1000])  # compiles
    walls, cpus = [], []
    for _ in range(arguments.repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        found = predict_table(table)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    print(f"{'':<44}{'wall s':>9}{'CPU s':>9}{'us a row':>10}")
    print(f"{arguments.rows:>9,} rows, intervals by directions{'':<7}{min(walls):>9.2f}{min(cpus):>9.2f}", end="")
    print(f"{min(cpus) / len(table) * 1e6:>10.2f}")
    singles = {}
    for words, draws, count in (("one by one, the same intervals", 0, 300), ("one by one, 200 draws", 200, 60)):
        asked = found.table.filter(found.table["refused"].is_null())[:count].to_dicts()
        began = time.process_time()
        for row in asked:
            case = Case(gpu(row["gpu"]), model(row["model"]), row["precision"], row["tp"], row["clock_hz"])
            lengths = {name: row[name] for name in ("batch", "input_tokens", "output_tokens")}
            predict(case, **lengths, draws=draws)
        singles[words] = (time.process_time() - began) / count
        print(f"{count:>9,} rows, {words:<31}{'':>9}{'':>9}{singles[words] * 1e6:>10.0f}")
    for words, each in singles.items():
        print(f"ratio against {words}: {each * len(table) / min(cpus):,.0f}")
    print(f"{found.deployments} deployments, {found.predicted:,} predicted, {found.bad + found.far:,} refused")
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("csv", "parquet"):
            source, out = Path(folder) / f"cases.{suffix}", Path(folder) / f"predictions.{suffix}"
            table.write_csv(source) if suffix == "csv" else table.write_parquet(source)
            timed = predict_file(source, out)
            print(f"{suffix}: read {timed['read_s']:.2f} s, write {timed['write_s']:.2f} s (apart from the above)")


if __name__ == "__main__":
    main()
