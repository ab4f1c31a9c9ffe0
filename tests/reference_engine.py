"""A slow engine in plain Python, written from the description of the scheduler and the law, sharing no code with them.

One object a request, one pass of the loop an iteration, one stamp a token. An iteration's joules are shared by the
Aumann-Shapley integral of what it costs without a power limit: complex-step derivatives along the ray, Gauss-Legendre
on every piece between the points where a maximum changes sides, found by bisection. At the limit, in that proportion.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from wattlane.core.types import Deployment
from wattlane.core.workload import Workload

NAMES = [
    "host_s",
    "host_per_seq_s",
    "comm_s",
    "comm_per_token_s",
    "weight_bytes",
    "expert_bytes",
    "experts",
    "experts_per_token",
    "flop_per_prefill_token",
    "flop_per_decode_token",
    "flop_per_context",
    "kv_bytes_per_token",
    "weight_bytes_per_s",
    "kv_bytes_per_s",
    "flop_per_s",
    "attention_flop_per_s",
    "static_w",
    "byte_j",
    "flop_j",
    "limit_w",
    "idle_w",
    "layer_s",
    "host_less_w",
    "layer_less_w",
    "expert_s",
    "expert_j",
    "expert_token_s",
    "expert_token_j",
    "expert_spread",
    "seq_s",
    "seq_j",
]
NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)
STEP = 1e-20  # of the complex-step derivative


@dataclass
class Live:
    """One request being served."""

    row: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    release_s: float
    computed: int = 0
    scheduled_s: float = math.nan
    token_s: list[float] = field(default_factory=list)
    prefill_j: float = 0.0
    decode_j: float = 0.0
    refused: bool = False

    @property
    def decodes(self) -> bool:
        return bool(self.token_s)


class Law:
    """Seconds, joules and shares of one iteration over x = (prefill tokens, token·context, sequences, KV tokens)."""

    def __init__(self, vector: np.ndarray) -> None:
        self.__dict__.update(zip(NAMES, vector.tolist(), strict=True))

    def parts(self, x):
        """Return (seconds streaming weights, seconds of products, seconds in all, joules), without a power limit."""
        p, pc, d, k = x
        products = p * self.flop_per_prefill_token + d * self.flop_per_decode_token
        streaming_s, products_s = self.weight_bytes / self.weight_bytes_per_s, products / self.flop_per_s
        busy_s = np.where(streaming_s >= np.real(products_s), streaming_s, products_s) + self.seq_s * d
        busy_s = busy_s + k * self.kv_bytes_per_token / self.kv_bytes_per_s
        busy_s = busy_s + pc * self.flop_per_context / self.attention_flop_per_s
        host_s = self.host_s + self.host_per_seq_s * d
        layer_s = self.layer_s + self.comm_s + self.comm_per_token_s * (p + d)
        joules = self.byte_j * (self.weight_bytes + k * self.kv_bytes_per_token) + self.seq_j * d
        joules = joules + self.flop_j * (products + (pc + k) * self.flop_per_context)
        if self.experts:
            missed = max(1 - self.experts_per_token / self.experts, math.exp(-50))
            mean, fullest = (1 - missed ** (g * (p + d)) for g in (1.0, max(1.0, self.expert_spread)))
            busy_s = busy_s + self.expert_s * mean + self.expert_token_s * (p + d)
            layer_s = layer_s + self.expert_s * (fullest - mean)
            joules = joules + self.expert_j * mean + self.expert_token_j * (p + d)
        joules = joules + self.static_w * busy_s + (self.static_w - self.host_less_w) * host_s
        joules = joules + (self.static_w - self.layer_less_w) * layer_s
        return streaming_s, products_s, host_s + layer_s + busy_s, joules

    def seconds(self, x) -> float:
        _, _, seconds, joules = (float(np.real(part)) for part in self.parts(x))
        return seconds * math.sqrt(max(1.0, joules / seconds / self.limit_w))

    def joules(self, x) -> float:
        return min(float(np.real(self.parts(x)[3])), self.limit_w * self.seconds(x))

    def prices(self, x) -> list[float]:
        """Return ∫₀¹ ∂C/∂x_j(s·x) ds for each j."""
        edges = sorted({0.0, *(2.0**-i for i in range(13)), *self._bends(x)})  # experts are all touched early on
        s = np.concatenate([a + (b - a) * (NODES + 1) / 2 for a, b in itertools.pairwise(edges)])
        w = np.concatenate([(b - a) * WEIGHTS / 2 for a, b in itertools.pairwise(edges)])
        out = []
        for j in range(4):
            moved = [s * value + (1j * STEP if i == j else 0j) for i, value in enumerate(x)]
            out.append(float(np.sum(w * np.imag(self.parts(moved)[3]) / STEP)))
        free = sum(price * value for price, value in zip(out, x, strict=True))
        paid = (self.joules(x) - self.joules([0.0] * 4)) / free if free else 1.0
        return [price * paid for price in out]

    def _bends(self, x) -> list[float]:
        def above(s) -> bool:
            streaming, products, _, _ = self.parts([s * value for value in x])
            return bool(np.real(products) > np.real(streaming))

        if not above(1.0):
            return []
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if above(middle) else (middle, high)
        return [high]


def serve(law: Law, requests: list[Live], d: Deployment, capacity_blocks: int, block_tokens: int) -> list[float]:
    """Serve the requests of one replica, in order of release; return (power in watts, start, end) of each iteration."""

    def blocks(r: Live) -> int:
        return math.ceil((r.input_tokens + r.output_tokens) / block_tokens)

    waiting, running, timeline = deque(requests), [], []
    now_s = -math.inf
    while waiting or running:
        if not running:
            now_s = max(now_s, waiting[0].release_s)
        work = [(r, 0) for r in running if r.decodes]
        budget = d.max_num_batched_tokens - len(work)
        for r in [r for r in running if not r.decodes]:
            take = min(budget, r.input_tokens - r.computed)
            if take > 0:
                work.append((r, take))
                budget -= take
        while waiting and waiting[0].release_s <= now_s and budget > 0 and len(running) < d.max_num_seqs:
            r = waiting[0]
            if blocks(r) > capacity_blocks:
                r.refused = True
                waiting.popleft()
                continue
            if sum(map(blocks, running)) + blocks(r) > capacity_blocks:
                break
            running.append(waiting.popleft())
            r.computed, r.scheduled_s = min(r.cached_tokens, r.input_tokens - 1), now_s
            take = min(budget, r.input_tokens - r.computed)
            work.append((r, take))
            budget -= take
        if not work:
            continue
        now_s = iterate(law, work, now_s, timeline)
        running = [r for r in running if len(r.token_s) < r.output_tokens]
    return timeline


def iterate(law: Law, work: list[tuple[Live, int]], now_s: float, timeline: list) -> float:
    """Run one iteration: share its joules, stamp its tokens; return its end."""
    parts = []
    for r, take in work:
        if take:
            parts.append((take, sum(range(r.computed + 1, r.computed + take + 1)), 0, 0))
        else:
            parts.append((0, 0, 1, r.input_tokens + len(r.token_s)))
    x = [float(sum(column)) for column in zip(*parts, strict=True)]
    seconds, joules = law.seconds(x), float(law.joules(x))
    even = float(law.joules([0.0] * 4)) / len(work)
    prices = law.prices(x)
    end_s = now_s + seconds
    for (r, take), part in zip(work, parts, strict=True):
        share = even + sum(price * amount for price, amount in zip(prices, part, strict=True))
        if take:
            r.prefill_j += share
            r.computed += take
        else:
            r.decode_j += share
        if r.computed == r.input_tokens:
            r.token_s.append(end_s)
    timeline.append((joules / seconds, now_s, end_s))
    return end_s


def replay(
    workload: Workload, d: Deployment, vector: np.ndarray, kv_capacity_tokens: int, block_tokens: int
) -> tuple[list[Live], list]:
    """Serve a workload; return every request in order and the timelines of the replicas."""
    window_s = d.release_window_s
    requests = []
    for r in workload:
        held_s = r.arrival_s if not window_s else max(r.arrival_s, math.ceil(r.arrival_s / window_s) * window_s)
        requests.append(Live(r.request_id, r.input_tokens, r.cached_tokens, r.output_tokens, held_s))
    law = Law(vector)
    timelines = [
        serve(law, requests[i :: d.replicas], d, kv_capacity_tokens // block_tokens, block_tokens)
        for i in range(d.replicas)
    ]
    return requests, timelines
