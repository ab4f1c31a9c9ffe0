"""A plan replayed on the trace itself: bursts, mixed lengths and all, request by request.

In each bin a pool's requests are spread over its instances in proportion to the load each is planned for (smooth
weighted round robin). An instance that keeps its configuration from one bin to the next is one replica that goes on;
otherwise a new one starts, and the old one finishes what it has. Energy is every iteration's, plus idle power for the
rest of the planned time of every instance, plus starts and parked GPUs. Nothing here uses the averages of the plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.model.profile import scaled
from wattlane.plan.configure import classes, demand
from wattlane.plan.configure.evaluate import starts, wakes
from wattlane.plan.configure.performance import Row
from wattlane.plan.configure.problem import Floats, Ints, Problem
from wattlane.plan.configure.replaying import Instance, attaining
from wattlane.plan.configure.setting import Setting
from wattlane.plan.pool import workers
from wattlane.sim import scoring


@dataclass(frozen=True, eq=False)
class Verified:
    """What the trace makes of a plan. `attainment` by class name; `offered` requests all told, `met` those in time.

    `short` names the pools in which some class misses its share.
    """

    energy_j: float
    offered: int
    met: int
    attainment: dict[str, float]
    short: tuple[int, ...]

    @property
    def attained(self) -> float:
        """Share of offered requests that met every target of their class."""
        return self.met / self.offered

    @property
    def keeps(self) -> bool:
        """Whether every class has its share."""
        return not self.short


@dataclass(frozen=True, slots=True)
class Slot:
    """One instance over the bins in which it runs without a break: its option and the requests it was given."""

    option: int
    bins: int
    rows: NDArray[np.int64]


def spread(weights: Floats, count: int) -> NDArray[np.int64]:
    """Return for each of `count` requests in order the instance it goes to: smooth weighted round robin."""
    if len(weights) == 1:
        return np.zeros(count, np.int64)
    share = weights / weights.sum()
    # request k of instance i is due at (k + ½) / share: merging the due times is the round robin
    each = np.floor(share * count + 1).astype(int) + 1
    due = np.concatenate([(np.arange(n) + 0.5) / s for n, s in zip(each, share, strict=True)])
    owner = np.repeat(np.arange(len(weights)), each)
    return owner[np.argsort(due, kind="stable")[:count]].astype(np.int64)


def slots(
    problem: Problem, rows: Sequence[Row], counts: Ints, at: NDArray[np.int64], of_pool: NDArray[np.int64]
) -> list[Slot]:
    """Return the instances of a plan with the requests each gets; requests behind the last bin belong to it."""
    option_of = np.array([r.option for r in rows], dtype=np.int64)
    at = np.minimum(at, problem.bins - 1)
    order = np.lexsort((np.arange(len(at)), of_pool, at))
    key = at[order] * problem.demand_per_s.shape[1] + of_pool[order]
    edges = np.searchsorted(key, np.arange(problem.demand_per_s.size + 1))
    done: list[Slot] = []
    for p in range(problem.demand_per_s.shape[1]):
        mine = np.flatnonzero(problem.modes.pool == p)
        running: dict[tuple[int, int], tuple[int, list[NDArray[np.int64]]]] = {}
        for t in range(problem.bins):
            modes = np.repeat(mine, counts[t, mine])
            cell = t * problem.demand_per_s.shape[1] + p
            requests = order[edges[cell] : edges[cell + 1]]
            places = _places(option_of[modes])
            going = {k: running.pop(k, (0, [])) for k in places}
            done += [Slot(k[0], n, np.concatenate(parts)) for k, (n, parts) in running.items()]
            owner = spread(problem.modes.rate_per_s[modes], len(requests)) if len(modes) else np.zeros(0, np.int64)
            running = {k: (n + 1, [*parts, requests[owner == i]]) for i, (k, (n, parts)) in enumerate(going.items())}
        done += [Slot(k[0], n, np.concatenate(parts)) for k, (n, parts) in running.items()]
    return done


def _places(options: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return (option, how many of it before) for each instance: what an instance is known by from bin to bin."""
    seen: dict[int, int] = {}
    found = []
    for option in options.tolist():
        found.append((option, seen.get(option, 0)))
        seen[option] = seen.get(option, 0) + 1
    return found


def verify(
    setting: Setting,
    pooling: str,
    problem: Problem,
    rows: Sequence[Row],
    counts: Ints,
    *,
    workload: Workload | None = None,
    time_factor: float = 1.0,
    power_factor: float = 1.0,
) -> Verified:
    """Return what the trace (or `workload`, of the same span) makes of `counts`; the factors are a law that is off."""
    requests = setting.workload if workload is None else workload
    of_class = setting.of_class if workload is None else classes.classify(requests, setting.bounds)
    pools = np.array(classes.POOLINGS[pooling])
    present = np.unique(pools[setting.of_class])
    of_pool = np.searchsorted(present, pools[of_class])
    at = demand.bins_of(requests, problem.bin_s)
    todo = slots(problem, rows, counts, at, of_pool)

    def serve(slot: Slot) -> tuple[NDArray[np.bool_], float]:
        instance = setting.instances[slot.option]
        assert instance is not None
        law = scaled(instance.law, time_factor, power_factor)
        idle_w = float(law[it.IDLE_W])
        if not len(slot.rows):
            return np.zeros(0, bool), idle_w * slot.bins * problem.bin_s
        mine = requests.take(slot.rows, requests.arrival_s[slot.rows])
        run = replace(instance, law=law).replay(mine)
        (r,) = run.replicas
        busy_s, joules, _ = scoring.totals(r.record, r.decoding)
        met = attaining(run, setting.slos, of_class[slot.rows])
        return met, joules + idle_w * max(0.0, slot.bins * problem.bin_s - busy_s)

    met, energy_j = np.zeros(len(requests), bool), 0.0
    with workers() as threads:
        for slot, (good, joules) in zip(todo, threads.map(serve, todo), strict=True):
            met[slot.rows] = good
            energy_j += joules
    return _verified(setting, problem, counts, met, of_class, of_pool, energy_j)


def _verified(
    setting: Setting,
    problem: Problem,
    counts: Ints,
    met: NDArray[np.bool_],
    of_class: NDArray[np.int64],
    of_pool: NDArray[np.int64],
    energy_j: float,
) -> Verified:
    parked = (problem.gpu_count - problem.gpus_used(counts)) * problem.parked_w * problem.bin_s
    starting = (starts(problem, counts) * problem.start_j).sum() + (wakes(problem, counts) * problem.wake_j).sum()
    share, short = {}, set()
    for c in np.unique(of_class).tolist():
        share[classes.NAMES[c]] = float(met[of_class == c].mean())
        if share[classes.NAMES[c]] < setting.slos[c].attainment:
            short.update(np.unique(of_pool[of_class == c]).tolist())
    total = energy_j + float(parked.sum()) + float(starting)
    return Verified(total, len(met), int(met.sum()), share, tuple(sorted(short)))


__all__ = ["Instance", "Slot", "Verified", "slots", "spread", "verify"]
