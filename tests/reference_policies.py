"""What policies decide, a second time in plain Python: lists and loops where the kernels keep counts."""

from __future__ import annotations

import math

from reference_engine import Law
from reference_scheduler import Scheduler
from wattlane.sim.fleet_types import Fleet, ScalingKind


def replica_seconds(server: Scheduler, prompt: float, output: float, tbt_s: float) -> float:
    """Return how long a request occupies a replica as full as the token gap allows."""
    law: Law = server.laws[-1]
    memory = server.capacity * server.s.kv_block_tokens // int(prompt + output + 1)
    context = prompt + output / 2
    batch = 1
    while batch < min(server.pool.max_num_seqs, memory):
        if law.seconds([0.0, 0.0, batch + 1.0, (batch + 1) * context]) > tbt_s:
            break
        batch += 1
    prefill_s = law.seconds([prompt, prompt * (prompt + 1) / 2, 0.0, 0.0])
    return prefill_s + max(output - 1, 0) * law.seconds([0.0, 0.0, float(batch), batch * context]) / batch


class Controller:
    """Decides now and then how many replicas of each pool take requests."""

    def __init__(self, fleet: Fleet, start_s: float) -> None:
        assert fleet.scaling is not None
        assert fleet.slo is not None
        self.scaling, self.slo, self.fleet = fleet.scaling, fleet.slo, fleet
        self.next_s = start_s + self.scaling.period_s
        self.since_s = -math.inf
        self.sent: list[tuple[Scheduler, float, float]] = []  # replica, prompt and expected tokens since the last tick

    def tick(self, servers: list[Scheduler], now_s: float, more: bool) -> None:
        for pool in self.fleet.pools:
            own = [s for s in servers if s.pool is pool]
            if own:
                self.scale(own, now_s)
        self.sent = []
        self.since_s = now_s
        more = more or any(s.waiting or s.running or s.late or s.batch for s in servers)
        self.next_s = now_s + self.scaling.period_s if more else math.inf

    def scale(self, own: list[Scheduler], now_s: float) -> None:
        s, here = self.scaling, [(prompt, output) for server, prompt, output in self.sent if server in own]
        load = 0.0
        if here:
            prompt, output = (sum(column) / len(here) for column in zip(*here, strict=True))
            load = len(here) / s.period_s * replica_seconds(own[-1], prompt, output, self.slo.tbt_s)
        active, waiting = sum(x.active for x in own), sum(len(x.waiting) for x in own)
        assert s.kind is ScalingKind.PARKING
        count = math.ceil(load / s.target - 1e-9)
        if waiting > s.pressure * active:
            count = max(count, active + 1)
        set_active(own, max(s.least, min(count, len(own))), now_s)


def set_active(own: list[Scheduler], count: int, now_s: float) -> None:
    for place, server in enumerate(own):
        active = place < count
        if active and not server.active:
            server.wake_s = now_s
        server.active = active
