"""A week of 44 M synthetic requests on 20 replicas: `python benchmarks/week_stream.py`. Prints what it took.

Poisson arrivals that follow the day (depth 0.5), prompts and answers drawn from the shipped shape azure-conv, replicas
of Llama-3.1-8B in bf16 on an H100 behind round robin. Runs `wattlane stream` in a process of its own, in a folder that
is kept with --out (a stopped run goes on there), and prints wall and CPU seconds and peak memory beside its summary.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WEEK_S = 7 * 86_400
FLEET = 'model = "Llama-3.1-8B-Instruct"\n[[pool]]\ngpu = "H100"\nreplicas = {replicas}\n'
STREAM = """requests = {requests}
window_requests = {window}
arrival = "kind=diurnal,rate_rps={rate},depth=0.5"
lengths = "kind=shape,name=azure-conv"
"""
CHILD = """
import json, resource, sys
from wattlane.cli.app import run
code = run(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]), file=sys.stderr)
raise SystemExit(code)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=44_000_000)
    parser.add_argument("--replicas", type=int, default=20)
    parser.add_argument("--window", type=int, default=200_000, help="requests of a window")
    parser.add_argument("--out", type=Path, help="folder that is kept")
    arguments = parser.parse_args()
    rate = 44_000_000 / WEEK_S * arguments.replicas / 20
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        fleet, stream = folder / "fleet.toml", folder / "stream.toml"
        fleet.write_text(FLEET.format(replicas=arguments.replicas), encoding="utf-8")
        asked = STREAM.format(requests=arguments.requests, window=arguments.window, rate=rate)
        stream.write_text(asked, encoding="utf-8")
        command = [sys.executable, "-c", CHILD, "stream", str(stream), "--fleet", str(fleet), "-o", str(folder / "run")]
        began = time.perf_counter()
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        wall_s = time.perf_counter() - began
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return done.returncode
        cpu_s, mib = json.loads(done.stderr.strip().splitlines()[-1])
        found = json.loads((folder / "run" / "summary.json").read_text(encoding="utf-8"))
    iterations, days = found["iterations"], found["horizon_s"] / 86_400
    print(
        f"\n{found['requests']:,} requests, {days:.2f} days, {arguments.replicas} replicas, {iterations:,} iterations"
    )
    print(f"{wall_s:.0f} s of wall, {cpu_s:.0f} s of CPU, peak {mib:.0f} MiB, {os.cpu_count()} cores")
    print(f"{cpu_s / iterations * 1e9:.0f} ns of CPU an iteration, {found['requests'] / cpu_s:,.0f} requests/s of CPU")
    return 0


if __name__ == "__main__":
    sys.exit(main())
