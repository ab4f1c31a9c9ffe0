"""What looking at replicas costs: `python benchmarks/policy_speed.py`. Prints a table, writes nothing.

Four replicas of Llama-3.1-8B in bf16 on H100s serve the Azure conversation hour (19,366 requests) at four times its
rate: the trace itself where WATTLANE_DATA names it, else the shipped shape of it. Prefix cache of named blocks, two
priorities. Every arrival steps all replicas wherever routing looks at them. Seconds are those of the processor.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

from fleet_speed import scenario


def main() -> None:
    """Replay the hour under every routing and print a row each."""
    from wattlane.core.types import Slo
    from wattlane.sim import account, paged
    from wattlane.sim.engine import layout as lay
    from wattlane.sim.fleet_types import Routing

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--speed-up", type=float, default=4.0, help="times the rate of the hour")
    arguments = parser.parse_args()
    workload, fleet, tags = scenario()
    workload = replace(workload, arrival_s=workload.arrival_s / arguments.speed_up)
    slo = Slo(1.0, 0.1)
    pool = replace(fleet.pools[0], replicas=4)
    titles = f"{'ms':>8}{'ns an iteration':>17}{'requests/s':>12}{'J/request':>11}{'attainment':>12}{'mean busy':>11}"
    print(f"{'routing':<16}{titles}")
    for kind in Routing:
        case = replace(fleet, pools=(pool,), routing=kind, slo=slo)
        seconds = []
        for _ in range(arguments.repeats + 1):
            began = time.process_time()
            run = paged.replay(workload, case, tags)
            seconds.append(time.process_time() - began)
        median, told = statistics.median(seconds[1:]), account.counts(run)
        joules = account.ledger(run).metered_j / len(workload)
        busy_s = sum(float((r.record[:, lay.END_S] - r.record[:, lay.START_S]).sum()) for r in run.replicas)
        busy = busy_s / (run.horizon_s - float(workload.arrival_s[0]))
        print(
            f"{kind.value:<16}{median * 1e3:>8.1f}{median / told['iterations'] * 1e9:>17.1f}"
            f"{len(workload) / median:>12,.0f}{joules:>11.2f}{account.attainment(run, slo):>12.4f}{busy:>11.2f}"
        )


if __name__ == "__main__":
    main()
