"""A stream served window by window is the whole served at once."""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
import pytest

from sim_scenes import law
from wattlane.core.errors import InputError
from wattlane.core.served import judged_gap_s
from wattlane.core.types import Slo
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


def cut(work: Workload, size: int) -> list[Workload]:
    parts = [np.arange(a, min(a + size, len(work))) for a in range(0, len(work), size)]
    return [work.take(rows, work.arrival_s[rows]) for rows in parts]


def near(found: float, seconds: np.ndarray, q: float) -> None:
    """A quantile of a histogram is that of the values, to a bin."""
    assert found == pytest.approx(np.quantile(seconds, q, method="inverted_cdf"), rel=0.01)


@pytest.mark.parametrize("seed", range(10))
def test_windows_change_nothing(seed: int) -> None:
    work, pool = busy(seed)
    whole = paged.replay(work, Fleet((pool,)))
    slo = Slo(0.5, 0.03)
    found = stream.rested(stream.replay(cut(work, 17), pool, slo))
    book = account.ledger(whole)
    assert found.requests == found.served + found.refused == len(work)
    assert found.iterations == account.counts(whole)["iterations"]
    assert found.preemptions == whole.preemptions.sum()
    assert found.output_tokens == work.output_tokens.sum()
    assert found.ledger.balanced(1e-9)
    assert found.prefill_j == pytest.approx(book.prefill_j, rel=1e-9)
    assert found.decode_j == pytest.approx(book.decode_j, rel=1e-9)
    assert found.idle_j == pytest.approx(book.idle_j, rel=1e-9, abs=1e-9)
    assert found.attainment == account.attainment(whole, slo)
    table = account.served_table(whole)
    gaps = table["gaps_s"].explode().drop_nulls().to_numpy()
    assert found.gaps.sum() == len(gaps) == (work.output_tokens - 1).sum()
    for q in (0.1, 0.5, 0.9, 0.99):
        near(found.ttft_quantile_s(q), table["first_token_s"].to_numpy() - work.arrival_s, q)
        near(found.e2e_quantile_s(q), table["end_s"].to_numpy() - work.arrival_s, q)
        near(found.tbt_quantile_s(q), gaps, q)


@pytest.mark.parametrize("seed", range(4))
def test_long_answers_are_judged_by_their_p99_across_preemptions_and_windows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    work = Workload(np.cumsum(rng.exponential(0.5, 30)), rng.integers(1, 60, 30), rng.integers(90, 190, 30))
    _, pool = busy(0)
    pool = replace(pool, kv_capacity_tokens=700)
    whole = paged.replay(work, Fleet((pool,)))
    assert whole.preemptions.sum() > 0
    gaps = account.served_table(whole)["gaps_s"]
    judged = np.array([judged_gap_s(row.to_numpy().astype(float)) for row in gaps])
    for tbt_s in np.quantile(judged, [0.2, 0.5, 0.8]) * 1.0001:
        slo = Slo(1e9, float(tbt_s))
        found = stream.rested(stream.replay(cut(work, 7), pool, slo))
        assert found.attainment == account.attainment(whole, slo)
        assert 0 < found.attained < 30


def test_replicas_take_their_turns_across_windows() -> None:
    work, pool = busy(3)
    pool = replace(pool, replicas=3)
    whole = paged.replay(work, Fleet((pool,)))
    for size in (50, 2):  # windows smaller than the pool leave some replicas without a request
        lines = stream.replay(cut(work, size), pool)
        assert [line.totals.requests for line in lines] == [40, 40, 40]
        found, book = stream.rested(lines), account.ledger(whole)
        assert found.prefill_j == pytest.approx(book.prefill_j, rel=1e-9)
        assert found.decode_j == pytest.approx(book.decode_j, rel=1e-9)
        assert found.idle_j == pytest.approx(book.idle_j, rel=1e-9)
        assert found.ledger.balanced(1e-9)


def test_what_a_stream_cannot_carry_over_is_refused() -> None:
    work, pool = busy(0)
    cached = replace(pool, settings=replace(pool.settings, prefix_cache=True))
    with pytest.raises(InputError, match="a stream takes none of them"):
        stream.replay([work], cached)


def test_sums_of_nothing_are_nothing() -> None:
    assert stream.Totals().attainment == 0.0
