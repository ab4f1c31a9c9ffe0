"""How fast a replay is: `python benchmarks/replay_speed.py`. Prints a table, writes nothing.

The workload is the shipped shape azure-conv (19,366 requests, an hour) on Llama-3.1-8B in bf16 on an H100. Start-up is
a fresh process from its first line to the first result, with no compiled kernels kept and with those of the run before.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

FIRST = """
import json, resource, time
began = time.perf_counter()
from wattlane.sim import run
found = run("azure-conv", model="Llama-3.1-8B-Instruct")
seconds = time.perf_counter() - began
print(json.dumps({"seconds": seconds, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""
# name, replicas, max_num_seqs, max_num_batched_tokens, power cap
CASES = (
    ("engine defaults", 1, 1024, 8192, None),
    ("4 replicas", 4, 1024, 8192, None),
    ("batch of 32, chunks of 512", 1, 32, 512, None),
    ("clipped at 350 W", 1, 1024, 8192, 350.0),
)


def start_up() -> tuple[dict[str, float], dict[str, float]]:
    """Return seconds and peak memory of a first process without kept kernels, and of a second with them."""
    import json

    with tempfile.TemporaryDirectory() as folder:
        settings = {**os.environ, "WATTLANE_CACHE": folder}
        command = [sys.executable, "-c", FIRST]
        runs = [subprocess.run(command, env=settings, check=True, capture_output=True) for _ in range(2)]
    cold, warm = (json.loads(run.stdout) for run in runs)
    return cold, warm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--skip-start-up", action="store_true", help="leave out the cold start, which compiles")
    arguments = parser.parse_args()
    # first, since the kernel counts the memory of the process that starts another as that one's peak
    if not arguments.skip_start_up:
        cold, warm = start_up()
        print(f"{'start to first result':<28}{'s':>8}{'peak RSS MiB':>16}")
        for name, found in (("no kernels kept", cold), ("kernels kept", warm)):
            print(f"{name:<28}{found['seconds']:>8.2f}{found['peak_bytes'] / 2**20:>16.0f}")
        print()
    from wattlane.core.facts.gpus import gpu
    from wattlane.core.facts.models import model
    from wattlane.core.types import Deployment
    from wattlane.model import iteration as it
    from wattlane.model.laws.phase import Case
    from wattlane.model.profile import profile_for
    from wattlane.sim import fleet
    from wattlane.workload import shape

    workload = shape("azure-conv").sample(0)
    case = Case(gpu("H100"), model("Llama-3.1-8B-Instruct"))
    capacity = case.kv_capacity_tokens(0.9)
    print(f"{'replay of 19,366 requests':<28}{'ms':>8}{'best':>8}{'iterations':>12}{'ns each':>9}{'requests/s':>12}")
    for name, replicas, seqs, tokens, cap_w in CASES:
        law = profile_for(case.gpu).law(case)
        law[it.LIMIT_W] = cap_w or law[it.LIMIT_W]
        deployment = Deployment(
            case.model.name, "H100", replicas=replicas, max_num_seqs=seqs, max_num_batched_tokens=tokens
        )
        seconds = []
        for _ in range(arguments.repeats + 1):
            began = time.perf_counter()
            run = fleet.replay(workload, deployment, law, capacity)
            seconds.append(time.perf_counter() - began)
        median, best = statistics.median(seconds[1:]), min(seconds[1:])  # the first may load compiled code
        iterations = sum(len(r.record) for r in run.replicas)
        row = f"{name:<28}{median * 1e3:>8.1f}{best * 1e3:>8.1f}{iterations:>12,}{median / iterations * 1e9:>9.1f}"
        print(f"{row}{len(workload) / median:>12,.0f}")


if __name__ == "__main__":
    main()
