"""Power budgets in plain Python: what every server drew by now, and the clocks allowed it from now on."""

from __future__ import annotations

import math

from wattlane.model import iteration as it
from wattlane.sim.capping import CapKind
from wattlane.sim.fleet_types import Fleet, Pool


def joules_until(server, now_s: float) -> float:
    """Return what a server has drawn; a rest that goes on is played to now and taken back."""
    kept = (server.now_s, server.wake_s, list(server.rests))
    if server.now_s < now_s:
        server.rest(now_s, False)
    spans = [(start, end, watts * (end - start)) for watts, start, end, _ in server.timeline] + server.rests
    server.now_s, server.wake_s, server.rests = kept
    total = 0.0
    for start, end, joules in spans:
        if end <= now_s:
            total += joules
        elif start < now_s:
            total += joules * (now_s - start) / (end - start)
    return total


def ceiling_at(pool: Pool, share: float) -> int:
    clocks = pool.laws[:, it.FLOP_PER_S] / pool.laws[-1, it.FLOP_PER_S]
    fits = [c for c, clock in enumerate(clocks) if clock <= share + 1e-12]
    return max(fits, default=0)


class Capper:
    """Looks at the power of all servers once a period."""

    def __init__(self, fleet: Fleet, start_s: float) -> None:
        assert fleet.capping is not None
        self.rule, self.fleet = fleet.capping, fleet
        self.next_s = start_s + self.rule.period_s
        self.stage = 0
        self.seen: dict[int, float] = {}
        self.warmth: dict[int, float] = {}

    def tick(self, servers: list, now_s: float, more: bool) -> None:
        watts = {}
        for s in servers:
            joules = joules_until(s, now_s)
            watts[s.number] = (joules - self.seen.get(s.number, 0.0)) / self.rule.period_s
            self.seen[s.number] = joules
        share = sum(watts.values()) / self.rule.budget_w
        if self.rule.kind is CapKind.POLCA:
            self.polca(servers, share)
        else:
            self.tapas(servers, share, watts)
        more = more or any(s.waiting or s.running or s.late or s.batch for s in servers)
        self.next_s = now_s + self.rule.period_s if more else math.inf

    def polca(self, servers: list, share: float) -> None:
        r = self.rule
        limits = [r.first, r.second, 1.0]
        passed = sum(share > limit for limit in limits)
        if passed >= self.stage:
            self.stage = passed
        elif share < limits[self.stage - 1] - r.release:
            self.stage -= 1
        for s in servers:
            low = s.pool in [self.fleet.pools[i] for i in r.low_pools]
            top = len(s.pool.laws) - 1
            first = ceiling_at(s.pool, r.low_first) if low else top
            second = ceiling_at(s.pool, r.low_second if low else r.high_second)
            s.ceiling = [top, first, second, 0][self.stage]

    def tapas(self, servers: list, share: float, watts: dict[int, float]) -> None:
        r = self.rule
        for s in servers:
            target_c = r.inlet_c + r.c_per_w * watts[s.number]
            before_c = self.warmth.get(s.number, r.inlet_c)
            self.warmth[s.number] = target_c + (before_c - target_c) * math.exp(-r.period_s / r.warm_s)
        mean_c = sum(self.warmth.values()) / max(len(self.warmth), 1)
        for s in servers:
            t = self.warmth[s.number]
            s.avoided = t > r.limit_c - r.band_c
            if t > r.limit_c or share > 1:
                s.ceiling -= 2
            elif s.avoided or (share > r.first and t >= mean_c - 1e-9):
                s.ceiling -= 1
            elif share < r.first - r.release and t < r.limit_c - 2 * r.band_c:
                s.ceiling += 1
            s.ceiling = min(max(s.ceiling, 0), len(s.pool.laws) - 1)
