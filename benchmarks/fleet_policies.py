"""What routing, release, order and scaling come to: `python benchmarks/fleet_policies.py`. Prints, writes nothing.

Replicas of Llama-3.1-8B in bf16 on H100s; the Azure conversation hour (19,366 requests): the trace itself where
WATTLANE_DATA names it, else the shipped shape of it. TTFT 1 s, TBT 100 ms; all energies are modelled and hold idle
replicas. Seconds are those of the processor. Where routing looks at replicas, every arrival steps all of them.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
from fleet_speed import scenario

from wattlane.core.types import Slo
from wattlane.core.workload import Workload
from wattlane.sim import account, paged
from wattlane.sim.engine import layout as lay
from wattlane.sim.fleet_types import (
    EngineSettings,
    Fleet,
    Order,
    Release,
    ReleaseKind,
    RestState,
    Routing,
    Scaling,
    ScalingKind,
    Scheduling,
    Tags,
)

SLO = Slo(1.0, 0.1)
TITLES = f"{'ms':>8}{'requests/s':>12}{'J/request':>11}{'attains':>9}{'TTFT p99':>10}{'mean busy':>11}{'batch':>7}"


def row(name: str, workload: Workload, fleet: Fleet, tags: Tags | None, repeats: int) -> None:
    """Replay one case and print it."""
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        run = paged.replay(workload, fleet, tags)
        seconds.append(time.process_time() - began)
    least, slo = min(seconds), fleet.slo or SLO
    records = np.concatenate([r.record for r in run.replicas])
    busy = float((records[:, lay.END_S] - records[:, lay.START_S]).sum())
    table = account.served_table(run)
    ttft_s = np.nanquantile(table["first_token_s"].to_numpy() - table["arrival_s"].to_numpy(), 0.99)
    decodes = records[records[:, lay.TOKENS] > 0, lay.TOKENS]
    print(
        f"{name:<34}{least * 1e3:>8.1f}{len(workload) / least:>12,.0f}"
        f"{account.ledger(run).metered_j / len(workload):>11.2f}{account.attainment(run, slo):>9.4f}{ttft_s:>10.3f}"
        f"{busy / (run.horizon_s - float(workload.arrival_s[0])):>11.2f}{decodes.mean():>7.1f}"
    )


def routing(speed_up: float, repeats: int) -> None:
    """Four replicas, every way to choose one."""
    workload, fleet, tags = scenario()
    workload = replace(workload, arrival_s=workload.arrival_s / speed_up)
    print(f"\nrouting, 4 replicas, {speed_up:g} times the rate")
    for kind in Routing:
        case = replace(fleet, pools=(replace(fleet.pools[0], replicas=4),), routing=kind, slo=SLO)
        row(kind.value, workload, case, tags, repeats)


def thinned(share: float) -> tuple[Workload, Fleet]:
    """Return a part of the hour, drawn, and one replica without prefix cache or priorities."""
    workload, fleet, _ = scenario()
    rows = np.flatnonzero(np.random.default_rng(0).random(len(workload)) < share)
    pool = replace(fleet.pools[0], settings=EngineSettings())
    return workload.take(rows, workload.arrival_s[rows]), Fleet((pool,), slo=SLO)


def releases(repeats: int) -> None:
    """One replica, every way to let requests through."""
    for share in (0.01, 0.1, 1.0):
        workload, fleet = thinned(share)
        gap_s = float(np.ptp(workload.arrival_s)) / len(workload)
        print(f"\nrelease, 1 replica, {len(workload)} requests in the hour")
        for name, rule in (
            ("immediate", Release()),
            ("windowed 0.4 s", Release.windows(0.4)),
            ("windowed 4 s", Release.windows(4.0)),
            ("spaced at 0.8 of the mean gap", Release(ReleaseKind.SPACED, spacing_s=0.8 * gap_s)),
            ("slack-aware", Release(ReleaseKind.SLACK_AWARE)),
        ):
            row(name, workload, replace(fleet, release=rule), None, repeats)
        patient = replace(fleet, release=Release(ReleaseKind.SLACK_AWARE), slo=replace(SLO, ttft_s=10.0))
        row("slack-aware, TTFT target 10 s", workload, patient, None, repeats)


def orders(repeats: int) -> None:
    """One replica with a queue, continuous and static, every order."""
    for scheduling, speed_up in ((Scheduling.CONTINUOUS, 3.0), (Scheduling.STATIC, 0.4)):
        workload, fleet = thinned(1.0)
        workload = replace(workload, arrival_s=workload.arrival_s / speed_up)
        print(f"\norder, 1 replica, {speed_up:g} times the rate, {scheduling.value} batches of at most 64")
        for order in Order:
            if order is Order.KV_ALIGNED and scheduling is Scheduling.STATIC:
                continue
            settings = EngineSettings(scheduling=scheduling, order=order, patience_s=60.0)
            pool = replace(fleet.pools[0], settings=settings, max_num_seqs=64)
            row(order.value, workload, replace(fleet, pools=(pool,)), None, repeats)


def scaling(repeats: int) -> None:
    """Six replicas, 5, 30 and 5 requests a second for ten minutes each, lengths foreseen well and badly."""
    _, fleet, _ = scenario()
    rng = np.random.default_rng(0)
    parts = [np.sort(rng.uniform(600 * i, 600 * (i + 1), rng.poisson(600 * r))) for i, r in enumerate((5, 30, 5))]
    arrival_s = np.concatenate(parts)
    n = len(arrival_s)
    inputs = np.minimum(rng.lognormal(6.5, 0.8, n).astype(int) + 1, 6000)
    workload = Workload(arrival_s, inputs, np.minimum(rng.lognormal(5.0, 0.9, n).astype(int) + 1, 2000))
    out = workload.output_tokens
    rests = (RestState("parked", 5.0, 40.0, 0.5, 50.0, 2.0, 200.0),)
    pool = replace(fleet.pools[0], settings=EngineSettings(), replicas=6, max_num_seqs=64, rests=rests)
    lengths = (
        ("lengths as they are", Tags(predicted_tokens=out), None),
        ("foreseen 40 % too long", Tags(predicted_tokens=np.rint(out * 1.4).astype(int)), None),
        ("foreseen 40 % too short", Tags(predicted_tokens=np.maximum(1, np.rint(out * 0.6)).astype(int)), None),
        ("40 % swapped", None, 0.4),
    )
    print(
        "\nscaling, 6 replicas that park after 5 s; parking decides every 5 s, dynamo every 30 s; least-loaded routing"
    )
    base = Fleet((pool,), routing=Routing.LEAST_LOADED, slo=SLO)
    row("all active", workload, base, None, repeats)
    row("all active, wattlane routing", workload, replace(base, routing=Routing.WATTLANE), None, repeats)
    for kind in ScalingKind:
        for name, tags, error in lengths:
            period_s = 5.0 if kind is ScalingKind.PARKING else 30.0
            case = replace(base, scaling=Scaling(kind, period_s=period_s), length_error=error)
            row(f"{kind.value}: {name}", workload, case, tags, repeats)


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="of each case; the fastest is printed")
    arguments = parser.parse_args()
    print(f"{'':<34}{TITLES}")
    for speed_up in (1.5, 4.0):
        routing(speed_up, arguments.repeats)
    releases(arguments.repeats)
    orders(arguments.repeats)
    scaling(arguments.repeats)


if __name__ == "__main__":
    main()
