"""Route requests one by one as they arrive, as Algorithms 1 and 2 of Wilkins 2024 do, and serve them first come first.

Each target has so many instances; an instance serves one request at a time for the runtime of its law. A request waits
for the instance that is free first. Costs are normalised over the whole workload, as in the offline plan.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from wattlane.core.errors import InputError
from wattlane.core.workload import Workload
from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.equations import OBJECTIVES
from wattlane.plan.assign.kinds import merge
from wattlane.plan.assign.problem import Counts, Floats
from wattlane.plan.assign.targets import Target
from wattlane.plan.assign.totals import Totals, totals
from wattlane.plan.assign.values import Case
from wattlane.policy.online import QUEUE_WEIGHT, cheapest, queue_aware


@dataclass(frozen=True, eq=False, slots=True)
class Routed:
    """What an online policy did: target and wait of every request (n,), and the totals."""

    targets: Counts
    wait_s: Floats
    totals: Totals

    @property
    def mean_wait_s(self) -> float:
        """Mean over all requests."""
        return float(self.wait_s.mean())


def fleet(shares: tuple[float, ...], accelerators: int, gpus: tuple[int, ...]) -> tuple[int, ...]:
    """Return the instances that shares of the accelerators hold, ⌊γ_k·N / n_k⌋."""
    # γ·N is a product of floats that may fall just below a whole number
    return tuple(int((share * accelerators + 1e-9) // n) for share, n in zip(shares, gpus, strict=True))


def route(
    workload: Workload,
    targets: tuple[Target, ...],
    zeta: float,
    *,
    aware: bool,
    running_weight: float = 0.0,
    queue_weight: float = QUEUE_WEIGHT,
) -> Routed:
    """Route a workload in order of arrival; `aware` counts the requests waiting for each target.

    Raises:
        InputError: a target without instances, or an ask that is wrong.
    """
    problems = [f"{t.name} has {t.instances} instances; expected at least 1" for t in targets if not t.instances]
    ask = Ask(zeta=zeta, negative="clamp")
    problems += ask.problems(len(targets))
    if problems:
        raise InputError.gathered("online", problems)
    kinds = merge(workload)
    case = Case(targets, kinds, ask.negative)
    cost, service = OBJECTIVES[ask.objective].cost(case, ask), case.predicted("runtime_s")
    assert kinds.of_request is not None
    queues = [_Queue(target.instances or 1) for target in targets]
    running, waiting = np.zeros(len(targets)), np.zeros(len(targets))
    chosen, wait_s = np.zeros(len(workload), np.int64), np.zeros(len(workload))
    for i, kind in enumerate(kinds.of_request):
        now, own = float(workload.arrival_s[i]), cost[:, kind]
        if aware:
            waiting[:] = [queue.waiting(now) for queue in queues]
            k = queue_aware(own, running, running_weight, waiting, queue_weight)
        else:
            k = cheapest(own, running, running_weight)
        running[k] += own[k]
        chosen[i], wait_s[i] = k, queues[k].join(now, float(service[k, kind]))
    x = np.bincount(chosen * len(kinds) + kinds.of_request, minlength=len(targets) * len(kinds))
    return Routed(chosen, wait_s, totals(case, x.reshape(len(targets), -1)))


class _Queue:
    """First come first served on equal instances."""

    def __init__(self, instances: int) -> None:
        self._free_s = [0.0] * instances
        self._starts_s: list[float] = []

    def waiting(self, now_s: float) -> int:
        """Return how many requests have not started."""
        while self._starts_s and self._starts_s[0] <= now_s:
            heapq.heappop(self._starts_s)
        return len(self._starts_s)

    def join(self, now_s: float, service_s: float) -> float:
        """Serve a request and return its wait."""
        start_s = max(now_s, heapq.heappop(self._free_s))
        heapq.heappush(self._free_s, start_s + service_s)
        if start_s > now_s:
            heapq.heappush(self._starts_s, start_s)
        return start_s - now_s
