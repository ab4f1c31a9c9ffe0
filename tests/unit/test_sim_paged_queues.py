"""In its limits the paged engine is a queue: one server that is busy with prompts, or as many as there are seats."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
from test_sim_fleet import flat_law
from test_sim_queues import BATCHES, MEAN_SERVICE_S, TOKENS, mean_and_error

from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.sim import account, paged
from wattlane.sim.fleet_types import Fleet, Pool

pytestmark = [pytest.mark.slow, pytest.mark.skipif(numba.config.DISABLE_JIT, reason="needs the compiled kernels")]
REQUESTS = 200_000


def erlang_c(servers: int, offered: float) -> float:
    """Return the probability that an arrival of M/M/c waits; `offered` is load times servers."""
    b = 1.0
    for k in range(1, servers + 1):
        b = offered * b / (k + offered * b)
    return b / (1 - offered / servers * (1 - b))


@pytest.mark.parametrize("load", [0.3, 0.7])
@pytest.mark.parametrize("service", ["exponential", "fixed"])
def test_mean_wait_is_that_of_one_server(service: str, load: float) -> None:
    """M/M/1: load / (1 - load) service times; M/D/1: half of that (Pollaczek-Khinchine)."""
    rng = np.random.default_rng(11)
    arrival_s = np.cumsum(rng.exponential(MEAN_SERVICE_S / load, REQUESTS))
    drawn = rng.exponential(TOKENS, REQUESTS) if service == "exponential" else np.full(REQUESTS, float(TOKENS))
    law = flat_law(0.0)
    law[it.FLOP_PER_PREFILL_TOKEN], law[it.FLOP_PER_S] = 1.0, TOKENS / MEAN_SERVICE_S
    tokens = np.maximum(np.rint(drawn), 1).astype(np.int64)
    pool = Pool(law, 10**12, max_num_seqs=1, max_num_batched_tokens=10**9)
    run = paged.replay(Workload(arrival_s, tokens, np.ones(REQUESTS, np.int64)), Fleet((pool,)))
    exact_s = load / (1 - load) * MEAN_SERVICE_S * (1.0 if service == "exponential" else 0.5)
    mean_s, error_s = mean_and_error(run.begun_s - arrival_s)
    assert error_s < 0.03 * exact_s
    assert abs(mean_s - exact_s) < 4 * error_s
    assert account.ledger(run).balanced(1e-9)


@pytest.mark.parametrize(("servers", "load"), [(4, 0.7), (16, 0.85)])
def test_share_and_mean_of_waits_are_erlangs(servers: int, load: float) -> None:
    """Seats are servers where an iteration takes the same time whatever is in it: M/M/c, but for one iteration."""
    rng, step_s, mean_tokens, n = np.random.default_rng(5), 0.001, 500, 80_000
    offered = load * servers
    arrival_s = np.cumsum(rng.exponential(mean_tokens * step_s / offered, n))
    tokens = rng.geometric(1 / mean_tokens, n)
    pool = Pool(flat_law(step_s), 10**12, max_num_seqs=servers, max_num_batched_tokens=1000)
    run = paged.replay(Workload(arrival_s, np.ones(n, np.int64), tokens), Fleet((pool,)))
    waits_s = run.begun_s - arrival_s
    waits = erlang_c(servers, offered)
    found, error = mean_and_error((waits_s > step_s * (1 + 1e-6)).astype(float))
    assert abs(found - waits) < 4 * error + 0.004  # who finds a seat within the iteration in flight did not wait
    exact_s = waits * mean_tokens * step_s / (servers - offered)
    mean_s, error_s = mean_and_error(waits_s)
    assert abs(mean_s - exact_s - step_s / 2) < 4 * error_s + step_s / 2
    assert error_s < 0.1 * exact_s
    assert math.isclose(erlang_c(1, 0.7), 0.7)
    assert len(waits_s) % BATCHES == 0
