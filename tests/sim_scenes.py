"""Random small scenarios that reach every branch of the scheduler and of the law."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wattlane.core.types import Deployment
from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.sim import fleet
from wattlane.sim.fleet import Replay


@dataclass(frozen=True)
class Scene:
    """A workload, what serves it and under which law."""

    workload: Workload
    deployment: Deployment
    law: np.ndarray
    kv_capacity_tokens: int
    block_tokens: int

    def replay(self) -> Replay:
        return fleet.replay(self.workload, self.deployment, self.law, self.kv_capacity_tokens, self.block_tokens)


def law(rng: np.random.Generator, *, experts: bool, clipped: bool) -> np.ndarray:
    """Return a law of about 10 ms an iteration whose roofline bends at tens of tokens."""

    def about(value: float) -> float:
        return value * float(np.exp(rng.uniform(-1.0, 1.0)))

    out = np.zeros(it.N)
    out[it.HOST_S], out[it.HOST_PER_SEQ_S] = about(2e-3), about(2e-5)
    if rng.random() < 0.5:
        out[it.COMM_S], out[it.COMM_PER_TOKEN_S] = about(1e-3), about(1e-6)
    out[it.WEIGHT_BYTES], out[it.WEIGHT_BYTES_PER_S] = about(1e10), about(1e12)
    if experts:
        out[it.EXPERT_BYTES] = about(rng.choice([4e9, 4e10]))
        out[it.EXPERTS] = rng.choice([8, 64])
        out[it.EXPERTS_PER_TOKEN] = rng.choice([1, 2, 8])
    out[it.FLOP_PER_PREFILL_TOKEN], out[it.FLOP_PER_DECODE_TOKEN] = about(2e10), about(2e10)
    out[it.FLOP_PER_CONTEXT], out[it.KV_BYTES_PER_TOKEN] = about(5e5), about(1e5)
    out[it.KV_BYTES_PER_S], out[it.FLOP_PER_S], out[it.ATTENTION_FLOP_PER_S] = about(1e12), about(1e14), about(5e13)
    out[it.STATIC_W], out[it.BYTE_J], out[it.FLOP_J] = about(150), about(1e-10), about(1e-12)
    if rng.random() < 0.3:
        out[it.BYTE_J] = 0.0
    out[it.LIMIT_W] = out[it.STATIC_W] * rng.uniform(1.05, 1.6) if clipped else 1e4
    out[it.IDLE_W] = about(60)
    return out


def scene(seed: int, *, requests: int = 14, longest_output: int = 24) -> Scene:
    """Return the scenario of a seed; every limit may bind, caches may hit, and a request may be too large."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, requests + 1))
    inputs = rng.integers(1, rng.choice([8, 60, 300]), n)
    outputs = np.where(rng.random(n) < 0.2, 1, rng.integers(1, longest_output + 1, n))
    cached = np.where(rng.random(n) < 0.3, rng.integers(0, inputs + 1), 0)
    arrival_s = np.sort(rng.uniform(0.0, rng.choice([0.02, 0.3, 3.0]), n)) + rng.choice([0.0, 1000.0])
    if rng.random() < 0.3:
        arrival_s = np.sort(np.round(arrival_s, 1))  # ties
    max_num_seqs = int(rng.choice([1, 2, 4, 64]))
    block_tokens = int(rng.choice([1, 16]))
    deployment = Deployment(
        "a model",
        "a GPU",
        replicas=int(rng.integers(1, 4)),
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_seqs + int(rng.choice([0, 3, 40, 1000])),
        release_window_s=float(rng.choice([0.0, 0.0, 0.05, 0.4])),
    )
    most = int((inputs + outputs).max())
    capacity = int(rng.choice([most * 0.7, most + block_tokens, most * 2.5, 1e6]))
    chosen = law(rng, experts=rng.random() < 0.4, clipped=rng.random() < 0.4)
    return Scene(Workload(arrival_s, inputs, outputs, cached), deployment, chosen, capacity, block_tokens)
