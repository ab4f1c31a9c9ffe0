"""Plan a configuration from a file: map, solve, replay, tighten until the promise holds, compare."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from wattlane.core.errors import InfeasibleError
from wattlane.core.facts.config import resolve_model
from wattlane.core.files import sha256
from wattlane.core.provenance import Provenance
from wattlane.model.laws.phase import Case
from wattlane.model.profile import profile_for
from wattlane.plan.configure import performance, relax
from wattlane.plan.configure.baseline import single_pool
from wattlane.plan.configure.bound import lower_bound
from wattlane.plan.configure.config import read
from wattlane.plan.configure.performance import Pool, Row
from wattlane.plan.configure.plan import Plan
from wattlane.plan.configure.problem import Problem
from wattlane.plan.configure.setting import Setting, allowed, prepare, problem
from wattlane.plan.configure.solve import Found, solve
from wattlane.plan.configure.verify import Verified, verify

ROUNDS = 6
STEP = 1.08  # a pool that misses its share is planned for so much more demand in the next round
ERROR = 1.5  # of the forecast, in the report

Progress = Callable[[str], None]


def configure(file: Path, out: Path | None = None, *, progress: Progress = lambda _: None) -> Plan:
    """Return the plan for a CONFIGURE.toml; with `out`, write its files there.

    Raises:
        InputError: the file or something it names is wrong; all problems together.
        InfeasibleError: no plan serves the demand within SLOs, fleet and watts; says the smallest relaxation.
    """
    asked = read(file)
    setting = prepare(asked, file.parent)
    seconds: dict[str, float] = {}
    tried, gone = {}, {}
    for pooling in asked.classes.poolings:
        try:
            tried[pooling] = _planned(setting, pooling, seconds, progress)
        except InfeasibleError as error:
            gone[pooling] = str(error)
    if not tried:
        raise InfeasibleError("; ".join(f"pooling {name}: {words}" for name, words in gone.items()))
    keeping = {n: t for n, t in tried.items() if t[4].keeps} or tried
    pooling = min(
        keeping, key=lambda n: keeping[n][4].energy_j if asked.objective.least == "energy" else keeping[n][2].cost.total
    )
    rows, posed, found, margins, verified, rounds = tried[pooling]
    began = time.monotonic()
    plan = Plan(
        setting,
        pooling,
        rows,
        posed,
        found,
        lower_bound(posed, found.prices),
        verified,
        rounds,
        tuple(margins),
        single_pool(setting),
        {**{n: t[4].energy_j for n, t in tried.items()}, **dict.fromkeys(gone)},
        _under(setting, pooling, posed, rows, found),
        seconds,
        Provenance(asked.seed, {"question": sha256(file), **setting.inputs}),
    )
    seconds["baseline and what-if"] = time.monotonic() - began
    if out is not None:
        plan.write(out)
    return plan


Planned = tuple[list[Row], Problem, Found, list[float], Verified, int]


def _planned(setting: Setting, pooling: str, seconds: dict[str, float], progress: Progress) -> Planned:
    """Return the plan of one pooling, tightened until its replay keeps every class' share or the rounds are spent."""
    pools = setting.pools(pooling)
    rows = _map(setting, pooling, pools, seconds, progress)
    margins = np.ones(len(pools))
    began, best = time.monotonic(), None
    for number in range(1, ROUNDS + 1):
        posed = problem(setting, pooling, rows, margins)
        try:
            found = solve(posed, gap=setting.asked.solver.gap, limit_s=setting.asked.solver.limit_s, progress=progress)
        except InfeasibleError as error:
            if best is not None:
                break  # no room to tighten further: the best so far is said to miss
            words = relax.shortage(posed, [b.name for b in setting.boards])
            raise InfeasibleError(f"{error}: {words}") from None
        checked = verify(setting, pooling, posed, rows, found.counts)
        progress(f"pooling {pooling}, round {number}: {checked.attained:.2%} in time")
        best = (rows, posed, found, margins.tolist(), checked, number)
        if checked.keeps:
            break
        margins[list(checked.short)] *= STEP
    seconds[f"solve and replay, pooling {pooling}"] = time.monotonic() - began
    assert best is not None
    return best


def _map(setting: Setting, pooling: str, pools: list[Pool], seconds: dict[str, float], progress: Progress) -> list[Row]:
    began = time.monotonic()

    def said(done: int, whole: int) -> None:
        if done % 50 == 0 or done == whole:
            progress(f"performance map, pooling {pooling}: {done} of {whole}")

    rows = performance.build(pools, setting.options, setting.instances, said)
    rows = allowed(setting, rows, pools)
    seconds[f"map, pooling {pooling}"] = time.monotonic() - began
    if missing := relax.unserved(setting, pools, rows):
        raise InfeasibleError("; ".join(missing))
    return rows


def _under(setting: Setting, pooling: str, posed: Problem, rows: list[Row], found: Found) -> dict[str, Verified]:
    """Return the replay under laws one standard deviation off either way, and under more demand than forecast."""
    first = setting.asked.models[0]
    case = Case(setting.boards[0], resolve_model(first.name), first.precision)
    family = profile_for(setting.boards[0]).family(case)
    out = {}
    for name, sign in (("law one sd slower and hungrier", 1.0), ("law one sd faster and leaner", -1.0)):
        out[name] = verify(
            setting,
            pooling,
            posed,
            rows,
            found.counts,
            time_factor=float(np.exp(sign * family.group_sd_time)),
            power_factor=float(np.exp(sign * family.group_sd_power)),
        )
    rng = np.random.default_rng([setting.asked.seed, 2])
    more = np.sort(
        np.concatenate(
            [
                np.arange(len(setting.workload)),
                rng.choice(len(setting.workload), int((ERROR - 1) * len(setting.workload)), replace=False),
            ]
        )
    )
    extra = setting.workload.take(more, setting.workload.arrival_s[more])
    out[f"{ERROR:g} times the forecast"] = verify(setting, pooling, posed, rows, found.counts, workload=extra)
    return out
