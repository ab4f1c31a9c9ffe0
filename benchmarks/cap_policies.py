"""What each way to hold a power budget makes of the Azure conversation hour: `python benchmarks/cap_policies.py`.

Four replicas of Llama-3.1-8B in bf16 on H100s whose grid has nine clocks, round robin; two of them are a pool of low
priority. The budget is a share of the highest power that the fleet draws without one. The clock's effect is a prior in
its middle, and all energies are modelled, at the boundary of the GPU boards. Prints a table, writes nothing.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from fleet_speed import hour


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--budgets", type=float, nargs="+", default=[0.9, 0.77, 0.6], help="shares of the highest power"
    )
    parser.add_argument("--period-s", type=float, default=1.0)
    arguments = parser.parse_args()
    from wattlane.core.facts.gpus import gpu
    from wattlane.core.facts.models import model
    from wattlane.core.types import Slo
    from wattlane.model.laws.phase import Case
    from wattlane.model.profile import profile_for
    from wattlane.sim import account, paged
    from wattlane.sim.capping import CapKind, Capping
    from wattlane.sim.clocking import Clocking, ClockKind
    from wattlane.sim.fleet_types import Fleet, Pool

    board = gpu("H100")
    case = Case(board, model("Llama-3.1-8B-Instruct"))
    clocks_hz = np.linspace(board.clock_min_hz, board.clock_max_hz, 10)[1:]
    profile, slo, work = profile_for(board), Slo(1.0, 0.1), hour()
    pool = Pool(
        np.stack([profile.law(replace(case, clock_hz=float(hz))) for hz in clocks_hz]),
        case.kv_capacity_tokens(0.9),
        replicas=2,
        max_num_seqs=1024,
        max_num_batched_tokens=2048,
        switch_s=0.02,
    )

    def row(name: str, kind: ClockKind, capping: Capping | None, budget_w: float) -> float:
        one = replace(pool, clocking=Clocking(kind))
        fleet = Fleet((one, replace(one, name="low")), slo=slo, capping=capping)
        run = paged.replay(work, fleet)
        above = account.over_budget(run, budget_w)
        second = account.power_series(run, arguments.period_s)["power_w"].to_numpy()
        late = float((second > budget_w).mean())
        print(
            f"{name:<28}{account.ledger(run).metered_j / len(work):>10.1f}{account.attainment(run, slo):>9.2%}"
            f"{above['peak_w']:>9.0f}{above['seconds_above']:>11.1f}{above['largest_excess_w']:>9.0f}{late:>10.2%}"
        )
        return above["peak_w"]

    titles = f"{'J/request':>10}{'attains':>9}{'peak W':>9}{'s above':>11}{'W above':>9}{'periods':>10}"
    for kind in (ClockKind.FIXED, ClockKind.ENERGY_MINIMUM):
        print(f"\n{kind.value} clocks\n{'':<28}{titles}")
        peak_w = row("no budget", kind, None, float("inf"))
        for share in arguments.budgets:
            budget_w = share * peak_w
            row(f"{budget_w:,.0f} W, not held", kind, None, budget_w)
            for rule in CapKind:
                capping = Capping(rule, budget_w, period_s=arguments.period_s, low_pools=(1,))
                row(f"{budget_w:,.0f} W, {rule.value}", kind, capping, budget_w)


if __name__ == "__main__":
    main()
