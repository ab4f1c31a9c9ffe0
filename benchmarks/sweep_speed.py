"""How fast a sweep is: `python benchmarks/sweep_speed.py`. Prints a table, writes nothing.

The workload is the shipped shape azure-conv (19,366 requests, an hour) on Llama-3.1-8B in bf16 on an H100: points that
are replayed in full (every one with another host time), and points of one timing history (power coefficients).
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1000)
    points = parser.parse_args().points
    from wattlane.core.facts.gpus import gpu
    from wattlane.core.facts.models import model
    from wattlane.core.types import Deployment
    from wattlane.model import iteration as it
    from wattlane.model.laws.phase import Case
    from wattlane.model.profile import profile_for
    from wattlane.sim.sweep import Point, run_sweep
    from wattlane.workload import shape

    workload = shape("azure-conv").sample(0)
    case = Case(gpu("H100"), model("Llama-3.1-8B-Instruct"))
    deployment = Deployment(case.model.name, "H100", max_num_seqs=1024, max_num_batched_tokens=8192)
    base = Point("base", deployment, profile_for(case.gpu).law(case), case.kv_capacity_tokens(0.9))

    def varied(i: int, column: int) -> Point:
        law = base.law.copy()
        law[column] *= 1.0 + 1e-4 * i
        return replace(base, name=str(i), law=law)

    run_sweep(workload, [base])  # loads or compiles the kernels
    print(f"{os.cpu_count()} cores")
    for words, column in (("host time, replayed in full", it.HOST_S), ("idle power, re-priced", it.IDLE_W)):
        sweep = [varied(i, column) for i in range(points)]
        began = time.perf_counter()
        found = run_sweep(workload, sweep)
        seconds = time.perf_counter() - began
        each = f"{seconds / points * 1e3:.1f} ms each, {points * len(workload) / seconds:,.0f} requests/s"
        print(f"{words:<30}{found!s:<55}{seconds:>8.1f} s, {each}", flush=True)


if __name__ == "__main__":
    main()
