"""A stream served window by window is the whole served at once."""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
import pytest

from sim_scenes import law
from wattlane.core.errors import InputError
from wattlane.core.workload import Workload
from wattlane.sim import account, paged, stream
from wattlane.sim.fleet_types import EngineSettings, Fleet, Pool, Scheduling

pytestmark = [] if numba.config.DISABLE_JIT else [pytest.mark.slow]


def busy(seed: int, n: int = 120) -> tuple[Workload, Pool]:
    rng = np.random.default_rng(seed)
    work = Workload(np.cumsum(rng.exponential(0.04, n)), rng.integers(1, 60, n), rng.integers(1, 40, n))
    block = int(rng.choice([1, 4]))
    kind = Scheduling.WAITING_RATIO if seed % 5 == 4 else Scheduling.CONTINUOUS
    ahead = bool(seed % 2) and kind is Scheduling.CONTINUOUS
    settings = EngineSettings(kind, kv_block_tokens=block, prefix_block_tokens=4, schedule_ahead=ahead)
    pool = Pool(
        law(rng, experts=False, clipped=False), 260, max_num_seqs=6, max_num_batched_tokens=110, settings=settings
    )
    return work, pool


@pytest.mark.parametrize("seed", range(10))
def test_windows_change_nothing(seed: int) -> None:
    work, pool = busy(seed)
    whole = paged.replay(work, Fleet((pool,)))
    cuts = np.arange(0, len(work), 17)
    parts = [np.arange(a, min(a + 17, len(work))) for a in cuts]
    found = stream.replay((work.take(rows, work.arrival_s[rows]) for rows in parts), pool)
    book = account.ledger(whole)
    assert found.requests == found.served + found.refused == len(work)
    assert found.iterations == account.counts(whole)["iterations"]
    assert found.preemptions == whole.preemptions.sum()
    assert found.output_tokens == work.output_tokens.sum()
    assert found.ledger.balanced(1e-9)
    assert found.prefill_j == pytest.approx(book.prefill_j, rel=1e-9)
    assert found.decode_j == pytest.approx(book.decode_j, rel=1e-9)
    assert found.idle_j == pytest.approx(book.idle_j, rel=1e-9, abs=1e-9)
    waits_s = account.served_table(whole)["first_token_s"].to_numpy() - work.arrival_s
    assert found.ttft_quantile_s(0.5) == pytest.approx(np.quantile(waits_s, 0.5, method="inverted_cdf"), rel=0.01)
    assert found.tbt_quantile_s(0.5) > 0


def test_a_replica_of_several_takes_its_turn_across_windows() -> None:
    work, pool = busy(3)
    rows = np.arange(1, len(work), 3)
    alone = paged.replay(work.take(rows, work.arrival_s[rows]), Fleet((pool,)))
    parts = [np.arange(a, min(a + 50, len(work))) for a in range(0, len(work), 50)]
    found = stream.replay((work.take(r, work.arrival_s[r]) for r in parts), pool, 1, 3)
    assert found.requests == len(rows)
    assert found.prefill_j == pytest.approx(alone.prefill_j.sum(), rel=1e-9)


def test_what_a_stream_cannot_carry_over_is_refused() -> None:
    work, pool = busy(0)
    cached = replace(pool, settings=replace(pool.settings, prefix_cache=True))
    with pytest.raises(InputError, match="a stream takes none of them"):
        stream.replay([work], cached)
