"""What each clock policy makes of the Azure conversation hour: `python benchmarks/clock_policies.py`. Writes nothing.

One replica of Llama-3.1-8B in bf16 on an H100 whose grid has nine clocks, the requests of the hour thinned to a part of
them. The clock's effect on time and power is a prior (`wattlane.model.clock`), in its middle; all energies are
modelled, at the boundary of the GPU board, from the first arrival to the last token, rests included.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
from fleet_speed import hour


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ttft-s", type=float, default=1.0)
    parser.add_argument("--tbt-s", type=float, default=0.1)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.01, 0.1, 0.3, 1.0], help="parts of the requests")
    parser.add_argument(
        "--switch-s", type=float, nargs="+", default=[0.0, 0.02], help="seconds a change of clock takes"
    )
    arguments = parser.parse_args()
    from wattlane.core.facts.gpus import gpu
    from wattlane.core.facts.models import model
    from wattlane.core.types import Slo
    from wattlane.model.laws.phase import Case
    from wattlane.model.profile import profile_for
    from wattlane.sim import account, paged
    from wattlane.sim.clocking import Clocking, ClockKind
    from wattlane.sim.engine import layout as lay
    from wattlane.sim.fleet_types import Fleet, Pool

    board = gpu("H100")
    case = Case(board, model("Llama-3.1-8B-Instruct"))
    clocks_hz = np.linspace(board.clock_min_hz, board.clock_max_hz, 10)[1:]
    profile, slo = profile_for(board), Slo(arguments.ttft_s, arguments.tbt_s)
    pool = Pool(
        np.stack([profile.law(replace(case, clock_hz=float(hz))) for hz in clocks_hz]),
        case.kv_capacity_tokens(0.9),
        max_num_seqs=1024,
        max_num_batched_tokens=2048,
    )
    whole = hour()
    luck = np.random.default_rng(0).random(len(whole))  # a smaller part is a part of a larger one
    titles = f"{'J/request':>11}{'saved':>8}{'attains':>9}{'MHz':>7}{'busy':>7}{'ms':>8}{'ns each':>9}"
    for share in arguments.shares:
        rows = np.flatnonzero(luck < share)
        work = whole.take(rows, whole.arrival_s[rows])
        for switch_s in arguments.switch_s:
            print(f"\n{share:.0%} of the requests, {len(work):,}; a change of clock takes {switch_s * 1e3:.0f} ms")
            print(f"{'':<18}{titles}")
            base_j = 0.0
            for kind in ClockKind:
                fleet = Fleet((replace(pool, clocking=Clocking(kind), switch_s=switch_s),), slo=slo)
                seconds = []
                for _ in range(3):
                    began = time.process_time()
                    run = paged.replay(work, fleet)
                    seconds.append(time.process_time() - began)
                record = run.replicas[0].record
                each_j = account.ledger(run).metered_j / len(work)
                base_j = base_j or each_j
                spans = record[:, lay.END_S] - record[:, lay.START_S]
                mhz = float(np.dot(clocks_hz[record[:, lay.AT_CLOCK].astype(int)], spans) / spans.sum() / 1e6)
                print(
                    f"{kind.value:<18}{each_j:>11.1f}{1 - each_j / base_j:>8.1%}{account.attainment(run, slo):>9.2%}"
                    f"{mhz:>7.0f}{spans.sum() / (run.horizon_s - work.arrival_s[0]):>7.1%}{min(seconds) * 1e3:>8.1f}"
                    f"{min(seconds) / len(record) * 1e9:>9.0f}"
                )


if __name__ == "__main__":
    main()
