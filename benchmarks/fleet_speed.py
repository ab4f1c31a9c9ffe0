"""How fast a fleet of paged engines is: `python benchmarks/fleet_speed.py`. Prints a table, writes nothing.

One replica of Llama-3.1-8B in bf16 on an H100 serves the Azure conversation hour (19,366 requests): the trace itself
where WATTLANE_DATA names it, else the shipped shape of it. Prompts begin with one of 40 texts (hash blocks of 64
tokens), priorities are two, and in the second case memory is so short that requests are preempted. Every request is
charged its joules in all of them. Times of single replays are of CPU, on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

START = """
import json, resource, time
began = time.perf_counter()
import sys; sys.path.insert(0, {folder!r})
from fleet_speed import scenario
from wattlane.sim import paged
workload, fleet, tags = scenario()
paged.replay(workload, fleet, tags)
seconds = time.perf_counter() - began
print(json.dumps([seconds, time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""
BLOCK = 64


def hour():
    """Return the requests of the hour."""
    from wattlane.workload import load, shape

    folder = os.environ.get("WATTLANE_DATA")
    found = sorted(Path(folder).rglob("AzureLLMInferenceTrace_conv*.csv")) if folder else []
    return load(found[0]).workload if found else shape("azure-conv").sample(0)


def scenario(capacity: int | None = None):
    """Return requests, fleet and tags of the reference scenario; `capacity` replaces the KV tokens of the board."""
    import numpy as np

    from wattlane.core.facts.gpus import gpu
    from wattlane.core.facts.models import model
    from wattlane.model.laws.phase import Case
    from wattlane.model.profile import profile_for
    from wattlane.sim.fleet_types import EngineSettings, Fleet, Pool, Tags

    workload = hour()
    rng = np.random.default_rng(0)
    text, shared = rng.integers(0, 40, len(workload)), rng.integers(0, 12, len(workload))
    counts = workload.input_tokens // BLOCK
    at = np.concatenate([[0], np.cumsum(counts)])
    row = np.repeat(np.arange(len(workload)), counts)
    place = np.arange(at[-1]) - at[row]
    names = np.where(place < shared[row], 1000 * text[row] + place, 10**6 + 1000 * row + place)
    tags = Tags(priority=rng.integers(0, 2, len(workload)), prefix_at=at, prefix_ids=names)
    case = Case(gpu("H100"), model("Llama-3.1-8B-Instruct"))
    settings = EngineSettings(prefix_cache=True, priority=True, prefix_block_tokens=BLOCK)
    pool = Pool(
        profile_for(case.gpu).law(case),
        capacity or case.kv_capacity_tokens(0.9),
        max_num_seqs=1024,
        max_num_batched_tokens=8192,
        settings=settings,
    )
    return workload, Fleet((pool,)), tags


def timed(name: str, capacity: int | None, repeats: int) -> float:
    """Replay one case, print its row and return the median seconds."""
    from wattlane.sim import account, paged

    workload, fleet, tags = scenario(capacity)
    seconds = []
    for _ in range(repeats + 1):
        began = time.thread_time()  # of CPU, which other work on the machine does not lengthen much
        run = paged.replay(workload, fleet, tags)
        seconds.append(time.thread_time() - began)
    median, best = statistics.median(seconds[1:]), min(seconds[1:])
    told = account.counts(run)
    print(
        f"{name:<30}{median * 1e3:>8.1f}{best * 1e3:>8.1f}{told['iterations']:>12,}"
        f"{median / told['iterations'] * 1e9:>9.1f}{len(workload) / median:>12,.0f}{told['preemptions']:>12,}"
        f"{told['cached_tokens'] / workload.input_tokens.sum():>9.1%}"
    )
    return median


def sweep(points: int, processes: int) -> None:
    """Replay the hour `points` times over worker processes, each with another budget, and say what 1,000 would take."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as work:
        list(work.map(one_point, range(4 * processes)))  # the workers load kernels and requests once
        began = time.perf_counter()
        list(work.map(one_point, range(points)))
        seconds = time.perf_counter() - began
    print(
        f"\nsweep: {points} replays on {processes} processes in {seconds:.1f} s; 1,000: {seconds / points * 1e3:.0f} s"
    )


CASES: dict[int, tuple] = {}


def one_point(i: int) -> float:
    """Replay the hour with the i-th token budget; return its joules."""
    from wattlane.sim import account, paged

    if not CASES:
        CASES[0] = scenario()
    workload, fleet, tags = CASES[0]
    pool = replace(fleet.pools[0], max_num_batched_tokens=2048 + 8 * i)
    return account.ledger(paged.replay(workload, replace(fleet, pools=(pool,)), tags)).metered_j


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--points", type=int, default=60)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    command = [sys.executable, "-c", START.format(folder=str(Path(__file__).resolve().parent))]
    # first, since the kernel counts the memory of the process that starts another as that one's peak
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, cpu_s, mib = json.loads(found)
    print(f"start to first result, kernels kept: {seconds:.2f} s of wall, {cpu_s:.2f} s of CPU, peak {mib:.0f} MiB\n")
    titles = f"{'ms':>8}{'best':>8}{'iterations':>12}{'ns each':>9}{'requests/s':>12}{'preempted':>12}{'cached':>9}"
    print(f"{'the hour on one replica':<30}{titles}")
    timed("prefix cache, priority", None, arguments.repeats)
    timed("and memory short: 24,000 tokens", 24_000, arguments.repeats)
    sweep(arguments.points, arguments.processes)


if __name__ == "__main__":
    main()
