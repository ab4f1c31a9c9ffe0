"""Small configuration problems with a known optimum."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np

from wattlane.plan.configure.problem import Ints, Modes, Problem

MOST = 6  # instances of one mode in a bin that brute force looks at


@cache
def small_problem(seed: int, *, bins: int = 2, capped: bool = False) -> Problem:
    """Return a random problem of two pools, two GPU types and three shapes, small enough to enumerate."""
    rng = np.random.default_rng(seed)
    shape_gpu = np.array([0, 0, 1])
    gpus_of_shape = np.array([1, 2, 1])
    shape = rng.integers(0, 3, 4)
    pool = np.array([0, 1, *rng.integers(0, 2, 2)])
    gpus = gpus_of_shape[shape]
    rate = rng.uniform(1.0, 4.0, 4) * gpus
    power = gpus * rng.uniform(150.0, 600.0, 4)
    demand = rng.uniform(0.0, 6.0, (bins, 2)) * (rng.random((bins, 2)) < 0.9)
    return Problem(
        demand_per_s=demand,
        bin_s=300.0,
        modes=Modes(pool, shape_gpu[shape], shape, gpus, rate, power),
        gpu_count=np.array([6, 4]),
        parked_w=rng.uniform(0.0, 60.0, 2),
        wake_j=rng.uniform(0.0, 4e4, 2),
        start_j=rng.uniform(0.0, 9e4, 3),
        shape_gpu=shape_gpu,
        cap_w=np.full(bins, rng.uniform(800.0, 3000.0) if capped else np.inf),
        per_j=rng.uniform(0.5, 1.5, (bins, 2)),
        per_gpu_bin=rng.uniform(0.0, 3e4, (bins, 2)),
        running=rng.integers(0, 2, 3),
    )


@cache
def brute_force(problem: Problem) -> float:
    """Return the least objective by looking at every plan, inf if there is none.

    What a bin costs beside starts does not depend on the others, and starts depend on the shapes and GPUs in use alone:
    of all instances with the same use only the cheapest can be part of the best plan.
    """
    options = np.array(list(itertools.product(range(MOST + 1), repeat=len(problem.modes))))
    use = np.hstack([problem.shapes_running(options), problem.gpus_used(options)])
    uses, which = np.unique(use, axis=0, return_inverse=True)
    before = np.concatenate([problem.running, problem.used_before])[None, :]
    value = np.array([problem.parked_cost])
    for t in range(problem.bins):
        run = options @ problem.mode_cost[t]
        run[~feasible(problem, options, t)] = np.inf
        least = np.full(len(uses), np.inf)
        np.minimum.at(least, which.ravel(), run)
        price = np.concatenate([problem.start_cost[t], problem.wake_cost[t]])
        into = np.maximum(uses[:, None, :] - before[None, :, :], 0) @ price
        value, before = least + (into + value[None, :]).min(axis=1), uses
    return float(value.min())


def feasible(problem: Problem, options: Ints, t: int) -> np.ndarray:
    """Return which of the instances `options` (n, M) serve bin t within fleet and watts."""
    pools = np.arange(problem.demand_per_s.shape[1])
    rates = (problem.modes.pool[:, None] == pools) * problem.modes.rate_per_s[:, None]
    serves = (options @ rates >= problem.demand_per_s[t] - 1e-9).all(axis=1)
    fits = (problem.gpus_used(options) <= problem.gpu_count).all(axis=1)
    return serves & fits & (options @ problem.extra_w <= problem.room_w[t] + 1e-9)
