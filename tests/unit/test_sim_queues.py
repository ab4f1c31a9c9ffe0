"""In its limits the engine is a queue: compute-bound prefill of one request at a time, no answer beyond one token."""

from __future__ import annotations

import numpy as np
import pytest

from wattlane.core.types import Deployment
from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.sim import fleet

REQUESTS = 400_000
BATCHES = 40  # of consecutive requests; their means are nearly independent
MEAN_SERVICE_S = 0.05
TOKENS = 100_000  # of a mean prompt: service times are continuous to 1e-5


def waits_s(arrival_s: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Return how long each request waited before its prefill began."""
    law = np.zeros(it.N)
    law[it.FLOP_PER_PREFILL_TOKEN] = 1.0
    law[it.FLOP_PER_S] = TOKENS / MEAN_SERVICE_S
    for divisor in (it.WEIGHT_BYTES_PER_S, it.KV_BYTES_PER_S, it.ATTENTION_FLOP_PER_S):
        law[divisor] = 1.0
    law[it.STATIC_W], law[it.LIMIT_W] = 100.0, 200.0
    one = Deployment("a model", "a GPU", max_num_seqs=1, max_num_batched_tokens=10**9)
    workload = Workload(arrival_s, tokens, np.ones(len(tokens), np.int64))
    run = fleet.replay(workload, one, law, 10**12)
    (r,) = run.replicas
    assert fleet.ledger(run).balanced(1e-9)
    assert np.array_equal(r.begun, r.first)  # one request is one iteration
    return np.asarray(r.record[r.begun, 0] - arrival_s)


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    means = values.reshape(BATCHES, -1).mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(BATCHES))


@pytest.mark.parametrize("load", [0.3, 0.7])
@pytest.mark.parametrize("service", ["exponential", "fixed"])
def test_mean_wait_is_that_of_the_closed_form(service: str, load: float) -> None:
    """M/M/1: load / (1 - load) service times; M/D/1: half of that (Pollaczek-Khinchine)."""
    rng = np.random.default_rng(7)
    arrival_s = np.cumsum(rng.exponential(MEAN_SERVICE_S / load, REQUESTS))
    drawn = rng.exponential(TOKENS, REQUESTS) if service == "exponential" else np.full(REQUESTS, float(TOKENS))
    waited = waits_s(arrival_s, np.maximum(np.rint(drawn), 1).astype(np.int64))
    exact_s = load / (1 - load) * MEAN_SERVICE_S * (1.0 if service == "exponential" else 0.5)
    mean_s, error_s = mean_and_error(waited)
    assert error_s < 0.02 * exact_s
    assert abs(mean_s - exact_s) < 4 * error_s
    idle, idle_error = mean_and_error((waited <= 1e-9).astype(float))
    assert abs(idle - (1 - load)) < 4 * idle_error + 1e-4
