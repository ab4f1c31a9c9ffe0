"""A slow fleet of paged engines in plain Python, written from docs/concepts/engine-model.md, sharing no kernel.

One object a request, one loop over everybody an iteration, lists where the kernels keep counts. The law and the shares
of an iteration are those of `reference_engine`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from reference_caps import Capper
from reference_clocks import Governor
from reference_policies import Controller, choose, expected_tokens, latest_start_s, released, set_active
from reference_scheduler import Ask, Scheduler
from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.sim.fleet_types import Fleet, Order, Pool, Role, Routing, Scheduling, Tags


def luck(seed: int, row: int, position: int) -> float:
    prime = 2**31 - 1
    x = (seed * 40014 + row * 69621 + position * 40692 + 12345) % prime
    for _ in range(4):
        x = ((x ^ (x >> 15)) * 48271 + 11) % prime
    return (x + 0.5) / prime


class Server(Scheduler):
    """One replica, run."""

    def __init__(self, number: int, pool: Pool, fleet: Fleet, start_s: float) -> None:
        super().__init__(number, pool, fleet.seed, start_s)
        self.governor = Governor(pool, fleet.slo, start_s)
        self.ceiling, self.avoided = len(pool.laws) - 1, False
        self.cap_w = pool.power_cap_w
        if fleet.capping and not fleet.capping.is_watched:
            gpus = sum(p.gpus * p.replicas for p in fleet.pools)
            self.cap_w = min(self.cap_w, fleet.capping.budget_w * pool.gpus / gpus)

    def choose_clock(self, x: list[float], p: float, chunks: list[Ask], more_s: float) -> int:
        if self.governor.is_fixed:
            wanted = self._index(self.pool.prefill_clock if chunks else self.pool.decode_clock)
        else:
            if self.now_s >= self.clock_at_s:
                self.clock = self.wanted
            wanted = self.wanted
            waiting = sorted((r for r in self.waiting if r.release_s <= self.gate_s), key=self.rank)
            stuck = any(not r.decodes for r in self.running)
            self.governor.tick(x, chunks, waiting, self.now_s)
            self.governor.price(self.timeline[-1] if self.timeline else None, x[2], p if chunks else 0.0, self.now_s)
            if self.clock == self.wanted:
                wanted = self.governor.want(x, p, chunks, waiting, stuck, self.now_s, more_s)
        wanted = min(wanted, self.ceiling)
        if wanted != self.wanted:
            self.wanted, self.clock_at_s = wanted, self.now_s + self.pool.switch_s
        if self.now_s >= self.clock_at_s:
            self.clock = self.wanted
        c = self.clock
        if self.cap_w < math.inf:
            while c > 0 and float(self.laws[c].joules(x)) > self.cap_w * self.laws[c].seconds(x):
                c -= 1
        return c

    def iterate(self, work: list[tuple[Ask, int]]) -> None:
        k = self.s.draft_tokens
        parts, plain = [], [0.0, 0.0, 0.0, 0.0]
        for r, size in work:
            if size:
                part = (size, sum(range(r.computed - size + 1, r.computed + 1)), 0, 0)
                plain = [a + b for a, b in zip(plain, part, strict=True)]
            else:
                c = self.context(r)
                part = (k, sum(c + j for j in range(1, k + 1)), 1, c)
                plain = [a + b for a, b in zip(plain, (0, 0, 1, c), strict=True)]
            parts.append(part)
        x = [float(sum(column)) for column in zip(*parts, strict=True)]
        draft_s = draft_j = 0.0
        if k and self.draft:
            p, pc, d, kv = plain
            if p:
                draft_s, draft_j = self.draft.seconds([p, pc, 0, 0]), float(self.draft.joules([p, pc, 0, 0]))
            if d:
                draft_s += k * self.draft.seconds([0, 0, d, kv])
                draft_j += k * float(self.draft.joules([0, 0, d, kv]))
        load_s = len(self.loads) * self.s.lora_load_s
        c = self.choose_clock(x, plain[0], [r for r, size in work if size], draft_s + load_s)
        law = self.laws[c]
        seconds, joules = law.seconds(x), float(law.joules(x))
        factor = 1 + draft_j / joules
        even = float(law.joules([0.0] * 4)) / len(work)
        prices = law.prices(x)
        for r in self.loads:
            r.prefill_j += self.s.lora_load_j
        seconds += draft_s + load_s
        joules += draft_j + len(self.loads) * self.s.lora_load_j
        self.loads = []
        start_s, self.now_s = self.now_s, self.now_s + seconds
        self.gate_s = start_s if self.s.schedule_ahead else self.now_s
        ended = self.hand_out(work, parts, factor, even, prices, seconds)
        self.timeline.append((joules / seconds, start_s, self.now_s, c))
        prompts = any(size for _, size in work)
        self.waited = 0 if prompts else self.waited + 1
        chunked = [r for r, size in work if size]
        for r in sorted(ended, key=lambda r: r in chunked):  # who decoded gives back first
            self.running.remove(r)
            if self.s.schedule_ahead:
                self.late.append(r)
            else:
                self.give_back(r)

    def hand_out(self, work, parts, factor: float, even: float, prices: list[float], seconds: float) -> list[Ask]:
        """Charge everybody in an iteration and stamp its tokens; return who got the last one."""
        k, ended = self.s.draft_tokens, []
        for (r, size), part in zip(work, parts, strict=True):
            share = factor * (even + sum(price * amount for price, amount in zip(prices, part, strict=True)))
            if size:
                r.prefill_j += share
                if not r.decodes:
                    continue
                got = 1
                if r.produced == 0:
                    self.governor.firsts.append(self.now_s - r.arrival_s)
                    self.first_waits_s.append(self.now_s - r.arrival_s)
            else:
                r.decode_j += share
                left = r.output_tokens - r.produced
                accepted = k
                if k and self.s.acceptance <= 0:
                    accepted = 0
                elif k and self.s.acceptance < 1:
                    drawn = math.floor(math.log(luck(self.seed, r.row, r.produced)) / math.log(self.s.acceptance))
                    accepted = min(k, drawn)
                got = min(accepted + 1, left)
                self.governor.gaps += [seconds] * got
                self.gaps_s += [seconds] * got
            r.produced += got
            r.token_s += [self.now_s] * got
            if r.produced == r.output_tokens:
                ended.append(r)
        return ended

    def pad(self) -> None:
        """Run one iteration of a padded batch."""
        rows, s = len(self.batch), self.step
        longest = max(r.input_tokens for r in self.batch)
        most = max(r.output_tokens for r in self.batch)
        if s == 0:
            x = [float(rows * longest), rows * longest * (longest + 1) / 2, 0.0, 0.0]
        else:
            x = [0.0, 0.0, float(rows), float(rows * (longest + s))]
        law = self.laws[c := self.choose_clock(x, x[0], self.batch if s == 0 else [], 0.0)]
        seconds, joules = law.seconds(x), float(law.joules(x))
        start_s, self.now_s = self.now_s, self.now_s + seconds
        self.gate_s = self.now_s
        self.timeline.append((joules / seconds, start_s, self.now_s, c))
        for r in self.batch:
            if s == 0:
                r.prefill_j += joules / rows
            else:
                r.decode_j += joules / rows
            if s == 0:
                self.governor.firsts.append(self.now_s - r.arrival_s)
                self.first_waits_s.append(self.now_s - r.arrival_s)
            elif r.produced < r.output_tokens:
                self.governor.gaps.append(seconds)
                self.gaps_s.append(seconds)
            if r.produced < r.output_tokens:
                r.produced += 1
                r.token_s.append(self.now_s)
        self.step += 1
        if self.step == most:
            self.batch = []

    def form(self) -> None:
        self.step, last = 0, None
        while len(self.batch) < self.pool.max_num_seqs:
            r = self.candidate(last)
            if r is None:
                return
            if last and self.s.order is Order.LENGTH_BUCKETS and self.bucket(r) != self.bucket(last):
                return
            both = [*self.batch, r]
            longest = max(b.input_tokens for b in both) + max(b.output_tokens for b in both)
            if len(both) * self.blocks(longest) > self.capacity:
                if self.batch:
                    return
                r.refused = True
                self.waiting.remove(r)
                continue
            self.waiting.remove(r)
            self.batch.append(r)
            last = r
            r.begun_s = self.now_s

    # time

    def rest(self, until_s: float, wakes: bool) -> None:
        if self.wake_s < until_s:
            if self.wake_s >= self.now_s:
                self._rest(self.wake_s, True)
            self.wake_s = math.inf
        if self.now_s < until_s:
            self._rest(until_s, wakes)

    def close(self, end_s: float) -> None:
        """Rest until the end of the account, which cuts a state that is being entered."""
        if self.now_s < end_s:
            self.rest(end_s, False)
        if self.now_s > end_s:
            begun_s, ends_s, joules = self.rests[-1]
            self.rests[-1] = (begun_s, end_s, joules * (end_s - begun_s) / (ends_s - begun_s))

    def _rest(self, until_s: float, wakes: bool) -> None:
        idle_w = float(self.pool.laws[-1, it.IDLE_W])
        begun_s, watts, deepest = self.now_s, idle_w, None
        for state in self.pool.rests:
            enter_s = max(self.now_s, begun_s + state.after_s)
            if enter_s >= until_s:
                break
            self.rests.append((self.now_s, enter_s, watts * (enter_s - self.now_s)))
            self.rests.append((enter_s, enter_s + state.entry_s, state.entry_j))
            self.now_s, watts, deepest = enter_s + state.entry_s, state.power_w, state
        if self.now_s < until_s:
            self.rests.append((self.now_s, until_s, watts * (until_s - self.now_s)))
            self.now_s = until_s
        if wakes and deepest:
            self.rests.append((self.now_s, self.now_s + deepest.exit_s, deepest.exit_j))
            self.now_s += deepest.exit_s

    def advance(self, until_s: float) -> None:
        """Run every iteration that begins before `until_s`."""
        while True:
            if not self.running and not self.late and not self.batch:
                if not self.waiting:
                    return
                nxt = min(r.release_s for r in self.waiting)
                if max(nxt, self.now_s) >= until_s:
                    return
                if nxt > self.now_s:
                    self.rest(nxt, True)
                self.gate_s = self.now_s
                if self.now_s >= until_s:
                    return
            elif self.now_s >= until_s:
                return
            if self.s.scheduling is Scheduling.STATIC:
                if not self.batch:
                    self.form()
                if self.batch:
                    self.pad()
                continue
            work = self.schedule()
            for r in self.late:
                self.give_back(r)
            self.late = []
            if work:
                self.iterate(work)
            else:
                self.gate_s = self.now_s

    def fail(self, at_s: float, up_s: float) -> list[Ask]:
        if self.now_s < at_s:
            self.rest(at_s, False)
        lost = sorted(self.waiting + self.running + self.batch, key=lambda r: r.row)
        self.waiting, self.running, self.late, self.batch = [], [], [], []
        self.slots = [[0, 0, 0] for _ in self.slots]
        self.resident, self.unused = {}, []
        self.up_s = max(at_s, up_s)
        if self.up_s > self.now_s:
            self.rests.append((self.now_s, self.up_s, self.pool.down_w * (self.up_s - self.now_s)))
            self.now_s = self.up_s
        return lost


def serve(fleet: Fleet, servers: list[Server], asks: list[Ask], start_s: float) -> None:
    """Route and serve requests in order of release, with everything that happens meanwhile."""
    numbers = {server.number for server in servers}
    failures = sorted((f.at_s, f.up_s, f.replica) for f in fleet.failures if f.replica in numbers)
    scales = sorted(fleet.scales, key=lambda s: s.at_s)
    fresh, retries, order = list(asks), [], 0
    controller = Controller(fleet, start_s) if fleet.scaling else None
    capper = Capper(fleet, start_s) if fleet.capping and fleet.capping.is_watched else None
    loops = [loop for loop in (controller, capper) if loop]
    for server in servers:
        server.controller = controller
    while fresh or retries or failures or scales or any(loop.next_s < math.inf for loop in loops):
        times = [fresh[0].release_s if fresh else math.inf, retries[0].release_s if retries else math.inf]
        fail_s, scale_s = failures[0][0] if failures else math.inf, scales[0].at_s if scales else math.inf
        tick_s = min((loop.next_s for loop in loops), default=math.inf)
        now_s = min(*times, fail_s, scale_s, tick_s)
        if scale_s == now_s:
            scale = scales.pop(0)
            for server in servers:
                server.advance(now_s)
            for number, pool in enumerate(fleet.pools):
                set_active([s for s in servers if s.pool is pool], scale.active[number], now_s)
        elif tick_s == now_s:
            for server in servers:
                server.advance(now_s)
            for loop in [loop for loop in loops if loop.next_s == now_s]:
                loop.tick(servers, now_s, bool(fresh or retries or failures or scales))
        elif fail_s == now_s:
            _, up_s, number = failures.pop(0)
            server = next(s for s in servers if s.number == number)
            server.advance(now_s)
            for r in server.fail(now_s, up_s):
                r.attempts += 1
                r.produced, r.computed, r.goal, r.processed, r.blocks = r.start, 0, 0, 0, 0
                r.token_s, r.shared, r.handoff, r.begun_s = [], [], False, math.nan
                r.release_s = now_s + fleet.retry_s
                retries.append(r)
        else:
            r = retries.pop(0) if times[1] <= times[0] else fresh.pop(0)
            known = [s for s in servers if s.pool.model == r.model]
            if fleet.routing is not Routing.ROUND_ROBIN:
                for server in known:
                    server.advance(now_s)
            up = [s for s in known if s.up_s <= now_s]
            active = [s for s in up if s.active]
            options = [s for s in active if not s.avoided] or active or up or known
            chosen = choose(fleet, options, r, now_s, order)
            r.order, r.replica = order, chosen.number
            order += 1
            chosen.waiting.append(r)
            if controller:
                controller.sent.append((chosen, 0 if r.handoff else r.input_tokens - r.cached, r.expected))
    for server in servers:
        server.advance(math.inf)


@dataclass
class Told:
    """What a request went through, over both stages."""

    token_s: list[float]
    prefill_j: float
    decode_j: float
    first: Ask
    second: Ask | None


def replay(workload: Workload, fleet: Fleet, tags: Tags) -> tuple[list[Told], list[Server], float]:
    """Serve a workload; return every request in order, the servers and the end of the account."""
    start_s = float(workload.arrival_s[0])
    servers, number = [], 0
    for pool in fleet.pools:
        for _ in range(pool.replicas):
            servers.append(Server(number, pool, fleet, start_s))
            number += 1
    split = {pool.model for pool in fleet.pools if pool.role is Role.PREFILL}

    released_s = released(workload, fleet, tags)

    def ask(row: int) -> Ask:
        r = list(workload)[row]
        names: list[int] = []
        if tags.prefix_at is not None and tags.prefix_ids is not None:
            size = max((p.settings.prefix_block_tokens for p in fleet.pools if p.settings.prefix_cache), default=1)
            names = tags.prefix_ids[tags.prefix_at[row] : tags.prefix_at[row + 1]].tolist()[: r.input_tokens // size]
        values = [0 if c is None else int(c[row]) for c in (tags.priority, tags.adapter, tags.model)]
        out = Ask(row, r.input_tokens, r.cached_tokens, r.output_tokens, released_s[row], *values, names)
        out.arrival_s, out.expected = r.arrival_s, expected_tokens(workload, tags, row)
        out.latest_s = latest_start_s(workload, fleet, tags, row)
        return out

    firsts = [ask(row) for row in range(len(workload))]
    for r in firsts:
        if r.model in split:
            r.output_tokens = 1
    ordered = sorted(firsts, key=lambda r: r.release_s)
    serve(fleet, [s for s in servers if s.pool.role is not Role.DECODE], ordered, start_s)
    seconds: dict[int, Ask] = {}
    for r in firsts:
        if r.model in split and not r.refused and workload.output_tokens[r.row] > 1:
            pool = next(p for p in reversed(fleet.pools) if p.model == r.model)
            kv = float(pool.laws[-1, it.KV_BYTES_PER_TOKEN]) * r.input_tokens
            again = ask(r.row)
            again.start = again.produced = 1
            again.handoff = True
            again.release_s = r.token_s[0] + fleet.transfer.latency_s + kv / fleet.transfer.bytes_per_s
            r.prefill_j += kv * fleet.transfer.byte_j
            seconds[r.row] = again
    ordered = sorted(seconds.values(), key=lambda r: r.release_s)
    serve(fleet, [s for s in servers if s.pool.role is Role.DECODE], ordered, start_s)
    horizon_s = max(server.now_s for server in servers)
    for server in servers:
        server.close(horizon_s)
    told = []
    for r in firsts:
        more = seconds.get(r.row)
        tokens, parts = list(r.token_s), [r.prefill_j, r.decode_j]
        if more:
            tokens += more.token_s
            parts = [parts[0] + more.prefill_j, parts[1] + more.decode_j]
        told.append(Told(tokens, *parts, r, more))
    assert np.isfinite(horizon_s)
    return told, servers, horizon_s
