"""The performance map: how many requests per second an instance serves within the SLO, and what it draws at each load.

Each (pool, option) is replayed under what one of several instances would get of the pool's own requests at a rate. The
highest rate that keeps every class' share is found by bisection; power is then read at shares of it. Everything here is
modelled by law and simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wattlane.core.workload import Workload
from wattlane.model.steady import steady
from wattlane.plan.configure.options import Option
from wattlane.plan.configure.problem import Modes
from wattlane.plan.configure.replaying import Instance, attaining, keeps, mean_power_w, ttft_s
from wattlane.plan.configure.slo import ClassSlo
from wattlane.plan.pool import workers
from wattlane.sim import fleet
from wattlane.sim.fleet import Replay

LEVELS = (0.25, 0.5, 0.7, 0.85, 1.0)
HALVINGS = 6
LOWEST = 1 / 64  # of the rate that would fill the batch limit
REQUESTS = 400  # for each class of the pool, so that a share of 99 % can be told; and at least STREAM_S of them
STREAM_S = 120.0
MOST_REQUESTS = 9 * REQUESTS


@dataclass(frozen=True, eq=False)
class Pool:
    """Requests that share instances: lengths to draw from, the class of each, and the SLO of every class."""

    name: str
    lengths: Workload
    of_class: NDArray[np.int64]
    slos: Sequence[ClassSlo]


@dataclass(frozen=True, slots=True)
class Row:
    """One mode of the map: what an instance of `option` at `load` of its capacity serves and draws."""

    pool: int
    option: int
    load: float
    rate_per_s: float
    power_w: float
    attainment: float
    ttft_p99_s: float
    tbt_p99_s: float


def stream(pool: Pool, rate_per_s: float) -> tuple[Workload, NDArray[np.int64]]:
    """Return what one of several instances gets of the pool's own requests, at a rate, and their classes.

    The requests are dealt round robin to as many instances as makes each one's rate nearest to the asked one; the hands
    are played one after the other until there are enough requests, and time is stretched to the rate exactly. So bursts
    stay, and so does the regularity that dealing brings.
    """
    n, arrival = len(pool.lengths), pool.lengths.arrival_s - pool.lengths.arrival_s[0]
    span = float(arrival[-1]) * n / max(1, n - 1) or 1.0 / rate_per_s
    hands = int(np.clip(round(n / span / rate_per_s), 1, n))
    wanted = int(np.clip(rate_per_s * STREAM_S, REQUESTS * len(np.unique(pool.of_class)), MOST_REQUESTS))
    played = min(hands, -(-wanted * hands // n))
    rows = np.concatenate([np.arange(hand, n, hands) for hand in range(played)])
    start = np.repeat(span * np.arange(played), [len(range(hand, n, hands)) for hand in range(played)])
    stretch = n / hands / span / rate_per_s
    at = (arrival[rows] + start)[:MOST_REQUESTS] * stretch
    return pool.lengths.take(rows[:MOST_REQUESTS], at, pool.name), pool.of_class[rows[:MOST_REQUESTS]]


def rows_of(pool: Pool, number: int, option: int, instance: Instance) -> list[Row]:
    """Return the rows of one option for one pool; none where even the lowest rate breaks an SLO."""

    def at(rate: float) -> tuple[Replay, NDArray[np.bool_], bool]:
        requests, of_class = stream(pool, rate)
        run = instance.replay(requests)
        met = attaining(run, pool.slos, of_class)
        return run, met, keeps(met, pool.slos, of_class)

    full = _filling_rate(pool, instance)
    low, high = full * LOWEST, full
    if not at(low)[2]:
        return []
    if at(high)[2]:
        low = high
    else:
        for _ in range(HALVINGS):
            middle = float(np.sqrt(low * high))
            low, high = (middle, high) if at(middle)[2] else (low, middle)
    found = []
    for load in LEVELS:
        run, met, kept = at(low * load)
        # a lower rate may miss by chance what a higher one keeps; such a level is not promised
        if kept:
            first_s = float(np.quantile(ttft_s(run), 0.99))
            tbt_s = fleet.tbt_quantile_s(run, 0.99)
            found.append(Row(number, option, load, low * load, mean_power_w(run), float(met.mean()), first_s, tbt_s))
    return found


def _filling_rate(pool: Pool, instance: Instance) -> float:
    """Return the arrivals per second that keep about the whole batch limit busy: its sequences over their time."""
    prompt, answer = float(pool.lengths.input_tokens.mean()), float(pool.lengths.output_tokens.mean())
    context = prompt + answer / 2
    batch = min(instance.deployment.max_num_seqs, max(1.0, instance.kv_capacity_tokens / (prompt + answer)))
    return batch / (steady(instance.law, batch, prompt, answer, context).iteration_s * answer)


def build(
    pools: Sequence[Pool],
    options: Sequence[Option],
    instances: Sequence[Instance | None],
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> list[Row]:
    """Return every row of the map; options whose model does not fit their GPUs have no instance and no rows."""
    jobs = [(p, o) for p in range(len(pools)) for o in range(len(options)) if instances[o] is not None]

    def one(job: tuple[int, int]) -> list[Row]:
        p, o = job
        instance = instances[o]
        assert instance is not None
        return rows_of(pools[p], p, o, instance)

    rows: list[Row] = []
    with workers() as threads:
        for done, found in enumerate(threads.map(one, jobs), start=1):
            rows += found
            progress(done, len(jobs))
    return rows


def modes(rows: Sequence[Row], options: Sequence[Option]) -> Modes:
    """Return the map as the columns of a problem."""
    chosen = [options[r.option] for r in rows]
    return Modes(
        pool=np.array([r.pool for r in rows], dtype=np.int64),
        gpu=np.array([o.fleet for o in chosen], dtype=np.int64),
        shape=np.array([o.shape for o in chosen], dtype=np.int64),
        gpus=np.array([o.gpus for o in chosen], dtype=np.int64),
        rate_per_s=np.array([r.rate_per_s for r in rows]),
        power_w=np.array([r.power_w for r in rows]),
    )


def table(rows: Sequence[Row], options: Sequence[Option], pools: Sequence[str]) -> pl.DataFrame:
    """Return the map as a table for people and for certify: one row a mode, knobs spelled out."""
    chosen = [options[r.option] for r in rows]
    return pl.DataFrame(
        {
            "pool": [pools[r.pool] for r in rows],
            "fleet": [o.fleet for o in chosen],
            "shape": [o.shape for o in chosen],
            "gpu": [o.deployment.gpu for o in chosen],
            "gpus": [o.gpus for o in chosen],
            "tensor_parallel": [o.deployment.tensor_parallel for o in chosen],
            "pipeline_parallel": [o.deployment.pipeline_parallel for o in chosen],
            "expert_parallel": [o.deployment.expert_parallel or o.deployment.tensor_parallel for o in chosen],
            "model": [o.deployment.model for o in chosen],
            "precision": [o.deployment.precision for o in chosen],
            "max_num_seqs": [o.deployment.max_num_seqs for o in chosen],
            "max_num_batched_tokens": [o.deployment.max_num_batched_tokens for o in chosen],
            "clock_hz": pl.Series([o.deployment.clock_hz for o in chosen], dtype=pl.Float64),
            "power_cap_w": pl.Series([o.deployment.power_cap_w for o in chosen], dtype=pl.Float64),
            "release_window_s": [o.deployment.release_window_s for o in chosen],
            "load": [r.load for r in rows],
            "rate_per_s": [r.rate_per_s for r in rows],
            "power_w": [r.power_w for r in rows],
            "attainment": [r.attainment for r in rows],
            "ttft_p99_s": [r.ttft_p99_s for r in rows],
            "tbt_p99_s": [r.tbt_p99_s for r in rows],
            "origin": ["modelled"] * len(rows),
        }
    )
