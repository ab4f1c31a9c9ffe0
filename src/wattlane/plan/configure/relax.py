"""Demand that does not fit: the smallest change that makes it fit, in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wattlane.core.extras import require
from wattlane.plan.configure import bins, highs
from wattlane.plan.configure.highs import Program, Status
from wattlane.plan.configure.performance import Pool, Row
from wattlane.plan.configure.problem import Problem
from wattlane.plan.configure.setting import Setting


def unserved(setting: Setting, pools: list[Pool], rows: list[Row]) -> list[str]:
    """Say for each pool without any mode which targets no configuration keeps, even at its lowest load."""
    found = []
    for number, pool in enumerate(pools):
        if any(row.pool == number for row in rows):
            continue
        targets = {setting.slos[c] for c in np.unique(pool.of_class).tolist()}
        words = " or ".join(
            f"TTFT {s.ttft_s:.3g} s, TBT {s.tbt_s:.3g} s, E2E {s.e2e_s:.3g} s at {s.attainment:.1%}"
            for s in sorted(targets, key=lambda s: s.ttft_s)
        )
        found.append(
            f"pool {pool.name}: none of {len(setting.options)} configurations keeps {words}, even at the lowest load "
            "tried; relax these targets, or allow faster GPUs, wider parallelism or a lower quality floor"
        )
    return found


def shortage(problem: Problem, names: list[str]) -> str:
    """Say how many GPUs, or how many watts, the worst bin is short of: the smallest such change, in whole instances."""
    worst_gpus, worst_t, by_type = 0, 0, np.zeros(len(names))
    for t in range(problem.bins):
        short = _short(problem, t)
        if short is not None and short.sum() > worst_gpus:
            worst_gpus, worst_t, by_type = int(short.sum()), t, short
    if worst_gpus:
        parts = ", ".join(f"{int(n)} {name}" for n, name in zip(by_type, names, strict=True) if n)
        return f"bin {worst_t}, the worst, is short of {parts}; add them, or lower the demand or the SLOs"
    free = replace(problem, cap_w=np.full(problem.bins, np.inf))
    need = [(w, t) for t in range(problem.bins) if (w := _least_watts(free, t)) > problem.cap_w[t]]
    if need:
        watts, t = max(need)
        return f"bin {t}, the worst, needs {watts:.0f} W; the cap is {problem.cap_w[t]:.0f} W"
    return "every bin fits by itself; allow the solver more time"


def _short(problem: Problem, t: int) -> np.ndarray | None:
    """Return the GPUs bin t is short of by type, (G,), in the least total; None where watts forbid it."""
    sparse = require("scipy.sparse")
    blocks = bins.Blocks.of(problem)
    low, high = bins.sides(problem, t)
    pools, gpus = problem.demand_per_s.shape[1], len(problem.gpu_count)
    relief = np.zeros((blocks.inside.shape[0], gpus))
    relief[pools : pools + gpus] = -np.eye(gpus)
    a = sparse.hstack([blocks.inside, sparse.csr_matrix(relief)]).tocsr()
    size = a.shape[1]
    cost = np.concatenate([np.zeros(len(problem.modes)), np.ones(gpus)])
    solved = highs.solve(Program(cost, a, low, high, np.full(size, np.inf), np.ones(size, bool)), nodes=2000)
    return np.rint(solved.x[-gpus:]) if solved.status in {Status.OPTIMAL, Status.STOPPED} else None


def _least_watts(problem: Problem, t: int) -> float:
    blocks = bins.Blocks.of(problem)
    low, high = bins.sides(problem, t)
    most = np.full(len(problem.modes), np.inf)
    whole = np.ones(len(problem.modes), bool)
    solved = highs.solve(Program(problem.extra_w, blocks.inside, low, high, most, whole), nodes=2000)
    return solved.objective + float(problem.gpu_count @ problem.parked_w)
