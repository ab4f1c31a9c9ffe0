"""Speed and certificate of assignments: `python benchmarks/assign_speed.py [1000000]`.

One row a way of solving, in a process of its own so that the peak memory is its own: merged and unmerged, ceilings and
floors, and a GPU-hour row. Lengths are drawn from the shipped shape of the Azure conversation trace, laws and scores
are the published ones of Wilkins 2024. With `--pulp` the released program's form, one binary a pair of query and model,
is solved beside it by PuLP's CBC at 20,000 queries. PuLP is no dependency of wattlane; put it in a folder of its own:

    pip install --target peer pulp && PYTHONPATH=peer python benchmarks/assign_speed.py --pulp

`--stream 44000000` writes a trace of that many rows and merges it from
the file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

COEFFICIENTS = {
    "Llama-2-7B": ((-3.894991, 31.522735, 0.042712), (-0.010021, 0.083515, 0.000107), 0.5097),
    "Llama-2-13B": ((-6.794323, 56.008311, 0.072861), (-0.017357, 0.142605, 0.000185), 0.5569),
    "Llama-2-70B": ((-12.0294, 414.8197, 0.3145), (-0.031204, 0.703173, 0.000533), 0.6452),
}
SHARES = (0.05, 0.2, 0.75)
PEER_QUERIES = 20_000
WAYS = ("merged", "unmerged", "floors", "gpu-hours")


def case_of(queries: int, *, merged: bool):
    from wattlane.core.workload import Workload
    from wattlane.model.laws.bilinear import BilinearFit, Side
    from wattlane.plan.assign.kinds import merge
    from wattlane.plan.assign.targets import Target
    from wattlane.plan.assign.values import Case
    from wattlane.workload.lengths.shape import shape

    drawn = shape(np.random.default_rng(0), queries, name="azure-conv")
    w = Workload(np.zeros(queries), drawn.input_tokens, drawn.output_tokens)
    targets = tuple(Target(n, BilinearFit(n, Side(e), Side(r)), a) for n, (e, r, a) in COEFFICIENTS.items())
    del drawn
    started = time.perf_counter()
    kinds = merge(w, merged=merged)
    return Case(targets, kinds), time.perf_counter() - started


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def solve_one(way: str, queries: int) -> dict[str, object]:
    from wattlane.plan.assign.ask import Ask
    from wattlane.plan.assign.build import build
    from wattlane.plan.assign.solve import solve
    from wattlane.plan.assign.totals import totals

    ask = Ask(shares=SHARES)
    if way == "floors":
        ask = Ask(shares=SHARES, share_kind="floor", share_factor=0.25)
    solve(build(case_of(1000, merged=True)[0], ask))  # the solver's library is loaded before the clock starts
    before = peak_mib()
    case, merging_s = case_of(queries, merged=way != "unmerged")
    if way == "gpu-hours":
        hours = [
            np.array(t.law.runtime_s.coefficients) @ case.kinds.sums(case.kinds.requests)[1:] / 3600
            for t in case.targets
        ]
        ask = Ask(gpu_hours=tuple(0.4 * h for h in hours))
    started, cpu_s = time.perf_counter(), time.process_time()
    problem = build(case, ask)
    found = solve(problem)
    first_s, first_cpu_s = time.perf_counter() - started, time.process_time() - cpu_s
    energy_j = totals(case, found.x).energy_j
    # electricity for the second model gets dearer by a tenth: its energy counts for more
    dearer = problem.cost.copy()
    dearer[1] *= 1.1
    changed = type(problem)(dearer, problem.requests, problem.rows, problem.targets)
    resolve_s, resolve_cpu_s = [], []
    for _ in range(5):
        started, cpu_s = time.perf_counter(), time.process_time()
        again = solve(changed, found.prices)
        resolve_s.append(time.perf_counter() - started)
        resolve_cpu_s.append(time.process_time() - cpu_s)
    return {
        "way": way,
        "queries": queries,
        "kinds": len(case.kinds),
        "merge_s": merging_s,
        "solve_s": first_s,
        "solve_cpu_s": first_cpu_s,
        "total_s": merging_s + first_s,
        "resolve_s": min(resolve_s),
        "resolve_cpu_s": min(resolve_cpu_s),
        "gap": found.gap,
        "resolve_gap": again.gap,
        "energy_kwh": energy_j / 3.6e6,
        "peak_mib": peak_mib(),
        "base_mib": before,
    }


def peer(queries: int = PEER_QUERIES) -> dict[str, object]:
    """One binary a pair, as the released code has it, with the objective it was meant to have."""
    import pulp

    from wattlane.plan.assign.ask import Ask
    from wattlane.plan.assign.build import build
    from wattlane.plan.assign.solve import solve

    ask = Ask(shares=SHARES)
    solve(build(case_of(1000, merged=True)[0], ask))
    case, merging_s = case_of(queries, merged=True)
    started = time.perf_counter()
    found = solve(build(case, ask))
    ours_s = merging_s + time.perf_counter() - started
    single, _ = case_of(queries, merged=False)
    cost, rows = build(single, ask).cost, build(single, ask).rows
    started = time.perf_counter()
    program = pulp.LpProblem("routing", pulp.LpMinimize)
    x = [[pulp.LpVariable(f"x_{k}_{i}", cat="Binary") for i in range(queries)] for k in range(len(cost))]
    program += pulp.lpSum(cost[k, i] * x[k][i] for k in range(len(cost)) for i in range(queries))
    for i in range(queries):
        program += pulp.lpSum(x[k][i] for k in range(len(cost))) == 1
    for k, row in enumerate(rows):
        program += pulp.lpSum(x[k]) <= row.bound
    program.solve(pulp.PULP_CBC_CMD(msg=False))
    theirs_s = time.perf_counter() - started
    value = pulp.value(program.objective)
    return {
        "way": "PuLP/CBC, one binary a pair",
        "queries": queries,
        "status": pulp.LpStatus[program.status],
        "ours_s": ours_s,
        "theirs_s": theirs_s,
        "ratio": theirs_s / ours_s,
        "relative_difference": abs(value - found.objective) / abs(found.objective),
    }


def stream(rows: int) -> dict[str, object]:
    from workload_load import write_trace

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.csv"
        write_trace(path, rows)
        script = (
            "import json, resource, sys, time; from pathlib import Path\n"
            "from wattlane.plan.assign.streaming import merge_file\n"
            "t = time.perf_counter(); kinds = merge_file(Path(sys.argv[1])); t = time.perf_counter() - t\n"
            "print(json.dumps({'rows': kinds.total, 'kinds': len(kinds), 'merge_s': t, "
            "'peak_mib': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))"
        )
        done = subprocess.run([sys.executable, "-c", script, str(path)], check=True, capture_output=True, text=True)
        return {"way": "stream", "file_gib": path.stat().st_size / 2**30, **json.loads(done.stdout)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("queries", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--pulp", action="store_true")
    parser.add_argument("--stream", type=int, metavar="ROWS")
    parser.add_argument("--way", choices=WAYS, help="this one alone, in this process")
    given = parser.parse_args()
    if given.way:
        print(json.dumps(solve_one(given.way, given.queries)))
    elif given.pulp:
        print(json.dumps(peer(), indent=2))
    elif given.stream:
        print(json.dumps(stream(given.stream), indent=2))
    else:
        for way in WAYS:
            command = [sys.executable, __file__, str(given.queries), "--way", way]
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
            found = json.loads(done.stdout)
            print(
                f"{way:<10}{found['kinds']:>9,} kinds  merge {found['merge_s']:.3f} s  "
                f"solve {found['solve_s']:.3f} s (CPU {found['solve_cpu_s']:.3f})  "
                f"again {found['resolve_s'] * 1e3:.0f} ms (CPU {found['resolve_cpu_s'] * 1e3:.0f})  "
                f"gap {found['gap']:.0e}  peak {found['peak_mib']:.0f} MiB  {found['energy_kwh']:,.0f} kWh"
            )


if __name__ == "__main__":
    main()
