"""A slow fleet of paged engines in plain Python, written from docs/concepts/engine-model.md, sharing no kernel.

One object a request, one loop over everybody an iteration, lists where the kernels keep counts. The law and the shares
of an iteration are those of `reference_engine`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from reference_engine import Law
from wattlane.core.workload import Workload
from wattlane.sim.fleet_types import Fleet, Pool, Role, Routing, Scheduling, Tags


@dataclass
class Ask:
    """One request."""

    row: int
    input_tokens: int
    cached: int
    output_tokens: int
    release_s: float
    priority: int
    adapter: int
    model: int
    names: list[int]
    start: int = 0  # tokens that came from elsewhere
    order: int = -1
    replica: int = -1
    token_s: list[float] = field(default_factory=list)
    produced: int = 0
    goal: int = 0
    computed: int = 0
    processed: int = 0  # tokens that once had a KV entry
    blocks: int = 0  # private ones
    shared: list[int] = field(default_factory=list)
    may_publish: bool = True
    handoff: bool = False
    prefill_j: float = 0.0
    decode_j: float = 0.0
    begun_s: float = math.nan
    preemptions: int = 0
    attempts: int = 0
    hit_tokens: int = 0
    recomputed: int = 0
    refused: bool = False

    @property
    def decodes(self) -> bool:
        return self.computed >= self.goal


def luck(seed: int, row: int, position: int) -> float:
    prime = 2**31 - 1
    x = (seed * 40014 + row * 69621 + position * 40692 + 12345) % prime
    for _ in range(4):
        x = ((x ^ (x >> 15)) * 48271 + 11) % prime
    return (x + 0.5) / prime


class Server:
    """One replica."""

    def __init__(self, number: int, pool: Pool, seed: int, start_s: float) -> None:
        self.number, self.pool, self.s, self.seed = number, pool, pool.settings, seed
        self.laws = [Law(law) for law in pool.laws]
        self.draft = Law(pool.draft_law) if pool.draft_law is not None else None
        self.capacity = pool.kv_capacity_tokens // self.s.kv_block_tokens
        self.now_s = self.gate_s = start_s
        self.waiting: list[Ask] = []
        self.running: list[Ask] = []
        self.late: list[Ask] = []
        self.resident: dict[int, int] = {}  # users of a cached hash block
        self.unused: list[int] = []  # cached hash blocks without users, the least recently used first
        self.slots = [[0, 0, 0] for _ in range(self.s.max_loras)]  # adapter, users, iteration of the last change
        self.loads: list[Ask] = []
        self.clock = self.wanted = self._index(pool.decode_clock)
        self.clock_at_s = -math.inf
        self.waited = 0
        self.timeline: list[tuple[float, float, float, int]] = []
        self.rests: list[tuple[float, float, float]] = []
        self.wake_s = math.inf
        self.up_s = -math.inf
        self.active = True
        self.batch: list[Ask] = []
        self.step = 0

    def _index(self, clock: int | None) -> int:
        return len(self.pool.laws) - 1 if clock is None else clock

    # memory

    @property
    def per_name(self) -> int:
        return self.s.prefix_block_tokens // self.s.kv_block_tokens

    def blocks(self, tokens: int) -> int:
        return math.ceil(tokens / self.s.kv_block_tokens)

    def free(self) -> int:
        held = sum(r.blocks for r in self.running + self.late) + len(self.resident) * self.per_name
        return self.capacity - held

    def available(self) -> int:
        return self.free() + len(self.unused) * self.per_name

    def take(self, r: Ask, count: int) -> None:
        while self.free() < count:
            del self.resident[self.unused.pop(0)]
        r.blocks += count

    def give_back(self, r: Ask) -> None:
        r.blocks = 0
        for name in reversed(r.shared):
            self.resident[name] -= 1
            if self.resident[name] == 0:
                self.unused.append(name)
        r.shared = []
        for slot in self.slots:
            if slot[0] == r.adapter and r.adapter:
                slot[1] -= 1
                slot[2] = len(self.timeline) + 1

    def held(self, r: Ask) -> int:
        return r.blocks + len(r.shared) * self.per_name

    def publish(self, r: Ask, tokens: int) -> None:
        while self.s.prefix_cache and r.may_publish and len(r.shared) < len(r.names):
            if (len(r.shared) + 1) * self.s.prefix_block_tokens > tokens:
                return
            name = r.names[len(r.shared)]
            if name in self.resident:
                r.may_publish = False
                return
            self.resident[name] = 1
            r.shared.append(name)
            r.blocks -= self.per_name

    # order

    def rank(self, r: Ask) -> tuple[int, int]:
        return (r.priority if self.s.priority else 0, r.order)

    def candidate(self) -> Ask | None:
        for r in sorted(self.waiting, key=self.rank):
            if r.release_s <= self.gate_s and self.has_slot(r):
                return r
        return None

    def has_slot(self, r: Ask) -> bool:
        if not r.adapter or not self.slots:
            return True
        return any(slot[0] == r.adapter or slot[1] == 0 for slot in self.slots)

    def load(self, r: Ask) -> None:
        if not r.adapter or not self.slots:
            return
        own = [slot for slot in self.slots if slot[0] == r.adapter]
        if not own:
            own = [min((slot for slot in self.slots if slot[1] == 0), key=lambda slot: slot[2])]
            own[0][0] = r.adapter
            self.loads.append(r)
        own[0][1] += 1
        own[0][2] = len(self.timeline) + 1

    def preempt(self, r: Ask) -> None:
        r.processed = max(r.processed, r.computed if not r.decodes else self.context(r) - 1)
        self.give_back(r)
        self.running.remove(r)
        r.computed, r.goal = 0, 0
        r.preemptions += 1
        self.waiting.append(r)

    def victim(self) -> Ask:
        return max(self.running, key=self.rank) if self.s.priority else self.running[-1]

    def context(self, r: Ask) -> int:
        """Tokens a decoding request has in the next iteration."""
        return r.input_tokens + r.produced

    # scheduling

    def room(self, r: Ask, tokens: int) -> bool:
        """Find blocks so that `tokens` of a running request have a place; preempt for it."""
        need = max(self.blocks(tokens) - self.held(r), 0)
        while self.available() < need:
            worst = self.victim()
            self.preempted = True
            self.preempt(worst)
            if worst is r:
                return False
        self.take(r, need)
        return True

    def schedule(self) -> list[tuple[Ask, int]]:
        """Return (request, prompt tokens of its chunk, 0 to decode) of the next iteration."""
        self.preempted = False
        ratio = self.s.scheduling is Scheduling.WAITING_RATIO
        decoding = [r for r in self.running if r.decodes]
        budget = self.pool.max_num_batched_tokens
        chunks: list[tuple[Ask, int]] = []
        if ratio:
            if decoding and self.waited + 1 < self.s.max_waiting_tokens:
                released = [r for r in self.waiting if r.release_s <= self.gate_s]
                if self.waited == 0 or len(released) < math.floor(len(decoding) * self.s.waiting_served_ratio):
                    return [(r, 0) for r in decoding]
        else:
            if not self.s.reserve_kv:
                for r in decoding:
                    if r in self.running:
                        self.room(r, self.context(r) + self.s.draft_tokens)
            budget -= sum(r.decodes for r in self.running) * (1 + self.s.draft_tokens)
            for r in [r for r in self.running if not r.decodes]:
                size = min(budget, r.goal - r.computed)
                if size > 0 and (self.s.reserve_kv or self.room(r, r.computed + size)):
                    chunks.append((r, size))
                    self.process(r, size)
                    budget -= size
        partial = [r for r in self.running if not r.decodes]
        if not self.preempted and not partial:
            self.admit(chunks, budget)
        prompts = [r for r, _ in chunks]
        decoding = [r for r in self.running if r.decodes and r not in prompts]
        if ratio and chunks:
            return chunks
        return chunks + [(r, 0) for r in decoding]

    def process(self, r: Ask, size: int) -> None:
        r.recomputed += max(0, min(r.computed + size, r.processed) - r.computed)
        r.computed += size
        self.publish(r, r.computed)

    def too_large(self, r: Ask) -> bool:
        total = r.input_tokens + r.output_tokens + self.s.draft_tokens
        whole = self.s.chunked_prefill and self.s.scheduling is Scheduling.CONTINUOUS
        return self.blocks(total) > self.capacity or (not whole and total > self.pool.max_num_batched_tokens)

    def admit(self, chunks: list[tuple[Ask, int]], budget: int) -> None:
        s = self.s
        whole = not s.chunked_prefill or s.scheduling is not Scheduling.CONTINUOUS
        reserve = s.reserve_kv or s.scheduling is not Scheduling.CONTINUOUS
        while budget > 0 and len(self.running) + len(self.late) < self.pool.max_num_seqs:
            r = self.candidate()
            if r is None:
                return
            if self.too_large(r):
                r.refused = True
                self.waiting.remove(r)
                continue
            goal = r.input_tokens + r.produced
            hits: list[int] = []
            if s.prefix_cache and not r.handoff:
                for name in r.names[: (goal - 1) // s.prefix_block_tokens]:
                    if name not in self.resident:
                        break
                    hits.append(name)
            start = max(len(hits) * s.prefix_block_tokens, min(r.cached, goal - 1))
            size = goal - start
            if r.handoff:
                if budget < 1 + s.draft_tokens:
                    return
                start, size = goal + s.draft_tokens, 0
            if size > budget:
                if whole:
                    return
                size = budget
            held = self.blocks(r.input_tokens + r.output_tokens if reserve else start + size)
            need = held - len(hits) * self.per_name
            idle = [name for name in self.unused if name not in hits]
            if self.free() + len(idle) * self.per_name < need:
                return
            self.waiting.remove(r)
            for name in hits:
                self.resident[name] += 1
            self.unused = idle
            r.shared, r.may_publish = hits, True
            self.take(r, need)
            self.running.append(r)
            self.load(r)
            r.goal, r.computed = goal, min(start, goal)
            if math.isnan(r.begun_s):
                r.begun_s = self.now_s
            if r.handoff:
                r.handoff = False
                budget -= 1 + s.draft_tokens
                continue
            if r.preemptions == 0:
                r.hit_tokens = start
            self.process(r, size)
            chunks.append((r, size))
            budget -= size
            if not r.decodes:
                return

    # iterations

    def choose_clock(self, x: list[float], prompts: bool) -> int:
        wanted = self._index(self.pool.prefill_clock if prompts else self.pool.decode_clock)
        if wanted != self.wanted:
            self.wanted, self.clock_at_s = wanted, self.now_s + self.pool.switch_s
        if self.now_s >= self.clock_at_s:
            self.clock = self.wanted
        c = self.clock
        if self.pool.power_cap_w < math.inf:
            while c > 0 and float(self.laws[c].joules(x)) > self.pool.power_cap_w * self.laws[c].seconds(x):
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
        c = self.choose_clock(x, any(size for _, size in work))
        law = self.laws[c]
        seconds, joules = law.seconds(x), float(law.joules(x))
        draft_s = draft_j = 0.0
        if k and self.draft:
            p, pc, d, kv = plain
            if p:
                draft_s, draft_j = self.draft.seconds([p, pc, 0, 0]), float(self.draft.joules([p, pc, 0, 0]))
            if d:
                draft_s += k * self.draft.seconds([0, 0, d, kv])
                draft_j += k * float(self.draft.joules([0, 0, d, kv]))
        factor = 1 + draft_j / joules
        even = float(law.joules([0.0] * 4)) / len(work)
        prices = law.prices(x)
        for r in self.loads:
            r.prefill_j += self.s.lora_load_j
        seconds += draft_s + len(self.loads) * self.s.lora_load_s
        joules += draft_j + len(self.loads) * self.s.lora_load_j
        self.loads = []
        start_s, self.now_s = self.now_s, self.now_s + seconds
        self.gate_s = start_s if self.s.schedule_ahead else self.now_s
        ended = []
        for (r, size), part in zip(work, parts, strict=True):
            share = factor * (even + sum(price * amount for price, amount in zip(prices, part, strict=True)))
            if size:
                r.prefill_j += share
                if not r.decodes:
                    continue
                got = 1
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
            r.produced += got
            r.token_s += [self.now_s] * got
            if r.produced == r.output_tokens:
                ended.append(r)
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

    def pad(self) -> None:
        """Run one iteration of a padded batch."""
        rows, s = len(self.batch), self.step
        longest = max(r.input_tokens for r in self.batch)
        most = max(r.output_tokens for r in self.batch)
        if s == 0:
            x = [float(rows * longest), rows * longest * (longest + 1) / 2, 0.0, 0.0]
        else:
            x = [0.0, 0.0, float(rows), float(rows * (longest + s))]
        law = self.laws[c := self.choose_clock(x, s == 0)]
        seconds, joules = law.seconds(x), float(law.joules(x))
        start_s, self.now_s = self.now_s, self.now_s + seconds
        self.gate_s = self.now_s
        self.timeline.append((joules / seconds, start_s, self.now_s, c))
        for r in self.batch:
            if s == 0:
                r.prefill_j += joules / rows
            else:
                r.decode_j += joules / rows
            if r.produced < r.output_tokens:
                r.produced += 1
                r.token_s.append(self.now_s)
        self.step += 1
        if self.step == most:
            self.batch = []

    def form(self) -> None:
        self.step = 0
        while len(self.batch) < self.pool.max_num_seqs:
            r = self.candidate()
            if r is None:
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
            r.begun_s = self.now_s

    # time

    def rest(self, until_s: float, wakes: bool) -> None:
        if self.wake_s < until_s:
            if self.wake_s >= self.now_s:
                self._rest(self.wake_s, True)
            self.wake_s = math.inf
        if self.now_s < until_s:
            self._rest(until_s, wakes)

    def _rest(self, until_s: float, wakes: bool) -> None:
        idle_w = float(self.pool.laws[-1, -1])
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


def serve(fleet: Fleet, servers: list[Server], asks: list[Ask]) -> None:
    """Route and serve requests in order of release, with everything that happens meanwhile."""
    numbers = {server.number for server in servers}
    failures = sorted((f.at_s, f.up_s, f.replica) for f in fleet.failures if f.replica in numbers)
    scales = sorted(fleet.scales, key=lambda s: s.at_s)
    fresh, retries, order = list(asks), [], 0
    while fresh or retries or failures or scales:
        times = [fresh[0].release_s if fresh else math.inf, retries[0].release_s if retries else math.inf]
        fail_s, scale_s = failures[0][0] if failures else math.inf, scales[0].at_s if scales else math.inf
        now_s = min(*times, fail_s, scale_s)
        if scale_s == now_s:
            scale = scales.pop(0)
            for server in servers:
                server.advance(now_s)
            for number, pool in enumerate(fleet.pools):
                for place, server in enumerate(s for s in servers if s.pool is pool):
                    active = place < scale.active[number]
                    if active and not server.active:
                        server.wake_s = now_s
                    server.active = active
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
            options = [s for s in up if s.active] or up or known
            chosen = options[order % len(options)]
            if fleet.routing is Routing.LEAST_LOADED:
                chosen = min(options, key=lambda s: len(s.waiting) + len(s.running) + len(s.late) + len(s.batch))
            r.order, r.replica = order, chosen.number
            order += 1
            chosen.waiting.append(r)
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
            servers.append(Server(number, pool, fleet.seed, start_s))
            number += 1
    split = {pool.model for pool in fleet.pools if pool.role is Role.PREFILL}

    def ask(row: int) -> Ask:
        r = list(workload)[row]
        names: list[int] = []
        if tags.prefix_at is not None and tags.prefix_ids is not None:
            size = max((p.settings.prefix_block_tokens for p in fleet.pools if p.settings.prefix_cache), default=1)
            names = tags.prefix_ids[tags.prefix_at[row] : tags.prefix_at[row + 1]].tolist()[: r.input_tokens // size]
        held_s, w = r.arrival_s, fleet.release_window_s
        if w:
            held_s = max(held_s, math.ceil(held_s / w) * w)
        values = [0 if c is None else int(c[row]) for c in (tags.priority, tags.adapter, tags.model)]
        return Ask(row, r.input_tokens, r.cached_tokens, r.output_tokens, held_s, *values, names)

    firsts = [ask(row) for row in range(len(workload))]
    for r in firsts:
        if r.model in split:
            r.output_tokens = 1
    serve(fleet, [s for s in servers if s.pool.role is not Role.DECODE], list(firsts))
    seconds: dict[int, Ask] = {}
    for r in firsts:
        if r.model in split and not r.refused and workload.output_tokens[r.row] > 1:
            kv = float(next(p.laws[-1, 11] for p in reversed(fleet.pools) if p.model == r.model)) * r.input_tokens
            again = ask(r.row)
            again.start = again.produced = 1
            again.handoff = True
            again.release_s = r.token_s[0] + fleet.transfer.latency_s + kv / fleet.transfer.bytes_per_s
            r.prefill_j += kv * fleet.transfer.byte_j
            seconds[r.row] = again
    ordered = sorted(seconds.values(), key=lambda r: r.release_s)
    serve(fleet, [s for s in servers if s.pool.role is Role.DECODE], ordered)
    horizon_s = max(server.now_s for server in servers)
    for server in servers:
        if server.now_s < horizon_s:
            server.rest(horizon_s, False)
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
