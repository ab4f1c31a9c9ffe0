"""A slow engine in plain Python, written from the description of the scheduler and the law, sharing no code with them.

One object a request, one pass of the loop an iteration, one stamp a token. An iteration's joules are shared by the
Aumann-Shapley integral: complex-step derivatives of the cost along the ray, Gauss-Legendre on every piece between the
points where a maximum or minimum of the cost changes sides, found by bisection.
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
        """Return (seconds streaming weights, seconds of products, seconds in all, unclipped joules)."""
        p, pc, d, k = x
        weights = self.weight_bytes
        if self.experts:
            missed = max(1 - self.experts_per_token / self.experts, math.exp(-50))
            weights = weights + self.expert_bytes * (1 - missed ** (p + d))
        products = p * self.flop_per_prefill_token + d * self.flop_per_decode_token
        streaming_s, products_s = weights / self.weight_bytes_per_s, products / self.flop_per_s
        longer_s = np.where(np.real(streaming_s) >= np.real(products_s), streaming_s, products_s)
        seconds = self.host_s + self.host_per_seq_s * d + self.comm_s + self.comm_per_token_s * (p + d) + longer_s
        seconds = seconds + k * self.kv_bytes_per_token / self.kv_bytes_per_s
        seconds = seconds + pc * self.flop_per_context / self.attention_flop_per_s
        joules = self.static_w * seconds + self.byte_j * (weights + k * self.kv_bytes_per_token)
        joules = joules + self.flop_j * (products + (pc + k) * self.flop_per_context)
        return streaming_s, products_s, seconds, joules

    def joules(self, x):
        _, _, seconds, joules = self.parts(x)
        limit = self.limit_w * seconds
        return np.where(np.real(joules) <= np.real(limit), joules, limit)

    def seconds(self, x) -> float:
        return float(np.real(self.parts(x)[2]))

    def prices(self, x) -> list[float]:
        """Return ∫₀¹ ∂C/∂x_j(s·x) ds for each j."""
        edges = sorted({0.0, *(2.0**-i for i in range(13)), *self._bends(x)})  # experts are all touched early on
        s = np.concatenate([a + (b - a) * (NODES + 1) / 2 for a, b in itertools.pairwise(edges)])
        w = np.concatenate([(b - a) * WEIGHTS / 2 for a, b in itertools.pairwise(edges)])
        out = []
        for j in range(4):
            moved = [s * value + (1j * STEP if i == j else 0j) for i, value in enumerate(x)]
            out.append(float(np.sum(w * np.imag(self.joules(moved)) / STEP)))
        return out

    def _bends(self, x) -> list[float]:
        def sides(s):
            streaming, products, seconds, joules = self.parts([s * value for value in x])
            return np.array([streaming - products, joules - self.limit_w * seconds])

        grid = np.unique(np.concatenate([np.geomspace(1e-4, 1.0, 100), np.linspace(0.0, 1.0, 401)]))
        found: list[float] = []
        for which in range(2):
            # a clip may last for less than a cell, but then it peaks where the roofline bends
            points = np.unique(np.concatenate([grid, found]))
            above = sides(points)[which] > 0
            for i in np.flatnonzero(above[:-1] != above[1:]):
                low, high = points[i], points[i + 1]
                for _ in range(60):
                    middle = (low + high) / 2
                    low, high = (middle, high) if (sides(middle)[which] > 0) == above[i] else (low, middle)
                found.append(float((low + high) / 2))
        return sorted(found)


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
