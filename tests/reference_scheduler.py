"""Memory, order and scheduling of the slow replica in plain Python; `reference_fleet` runs it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from reference_engine import Law
from wattlane.sim.fleet_types import Order, Pool, Scheduling


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
    latest_s: float = math.nan
    expected: int = 0  # output tokens as predicted
    arrival_s: float = 0.0
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


class Scheduler:
    """What one replica holds, and what its next iteration processes."""

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
        self.controller: object = None
        self.gaps_s: list[float] = []  # of every token that was decoded
        self.first_waits_s: list[float] = []
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

    def candidate(self, last: Ask | None = None, fresh: tuple[Ask, ...] = ()) -> Ask | None:
        """Return who comes in next, after `last`; `fresh` are those whose prompt this iteration ends."""
        ready = [r for r in sorted(self.waiting, key=self.rank) if r.release_s <= self.gate_s and self.has_slot(r)]
        if not ready or self.s.order is Order.FCFS:
            return ready[0] if ready else None
        ready = [r for r in ready if self.rank(r)[0] == self.rank(ready[0])[0]]
        old = [r for r in ready if self.gate_s - r.release_s >= self.s.patience_s]
        if old and self.s.order is not Order.LENGTH_BUCKETS:
            return old[0]
        if self.s.order is Order.LENGTH_BUCKETS:
            same = [r for r in ready if last and self.bucket(r) == self.bucket(last)]
            return same[0] if same else ready[0]
        if self.s.order is Order.LEAST_LAXITY:
            return min(ready, key=lambda r: r.latest_s)
        going = [r for r in self.running if r.decodes and r not in fresh]
        mean = sum(map(self.context, going)) / len(going) if going else 0.0
        return min(ready, key=lambda r: round(abs(self.context(r) - mean), 9) if going else 0.0)

    def bucket(self, r: Ask) -> int:
        return int(math.log2(r.input_tokens))

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
        last: Ask | None = None
        while budget > 0 and len(self.running) + len(self.late) < self.pool.max_num_seqs:
            r = self.candidate(last, tuple(r for r, _ in chunks))
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
            last = r
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
