"""Release shaping and queue order in a fleet: what they save, what they may not cost, and that nobody starves."""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
import pytest
from test_sim_fleet import flat_law

from wattlane.core.errors import InputError
from wattlane.core.types import Slo
from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.sim import account, paged
from wattlane.sim.engine import layout as lay
from wattlane.sim.fleet_types import (
    EngineSettings,
    Fleet,
    Order,
    Pool,
    Release,
    ReleaseKind,
    Role,
    Scheduling,
    Tags,
)
from wattlane.sim.holding import latest_start_s

pytestmark = [] if numba.config.DISABLE_JIT else [pytest.mark.slow]
SLO = Slo(ttft_s=2.0, tbt_s=0.5)


def pool(**changes) -> Pool:
    """Iterations of 20 ms plus 2 ms a sequence: the first one is the dear one."""
    row = flat_law(0.02)
    row[it.SEQ_S] = 0.002
    return replace(Pool(row, 1_000_000, max_num_seqs=64, max_num_batched_tokens=4096), **changes)


def poisson(n: int = 200, rate: float = 2.0, seed: int = 0) -> Workload:
    rng = np.random.default_rng(seed)
    return Workload(np.cumsum(rng.exponential(1 / rate, n)), rng.integers(20, 200, n), rng.integers(5, 40, n))


def replay(work: Workload, release: Release, tags: Tags | None = None, own: Pool | None = None) -> paged.FleetRun:
    return paged.replay(work, Fleet((own or pool(),), release=release, slo=SLO), tags)


def busy_j(run: paged.FleetRun) -> float:
    return account.ledger(run).prefill_j + account.ledger(run).decode_j


def mean_batch(run: paged.FleetRun) -> float:
    tokens = run.replicas[0].record[:, lay.TOKENS]
    return float(tokens[tokens > 0].mean())


def test_a_window_raises_the_mean_batch_and_is_never_exceeded() -> None:
    work = poisson()
    free = replay(work, Release())
    last = mean_batch(free)
    for window_s in (0.5, 1.0, 2.0):
        run = replay(work, Release.windows(window_s))
        held_s = run.release_s - work.arrival_s
        assert (held_s >= 0).all()
        assert (held_s <= window_s * (1 + 1e-9)).all()
        assert mean_batch(run) > last
        last = mean_batch(run)


def test_denser_arrivals_are_cheaper() -> None:
    """The same requests at twice the rate, five times over (D14: towards the joules of a full batch)."""
    joules = []
    for rate in (0.5, 1, 2, 4, 8, 16):
        work = poisson(rate=1.0)
        run = replay(replace(work, arrival_s=work.arrival_s / rate), Release())
        joules.append(account.ledger(run).metered_j / len(work))
    assert (np.diff(joules) < 0).all()


def test_spacing_takes_the_bursts_out_of_a_stream() -> None:
    work = Workload(np.repeat(np.arange(5) * 10.0, 20), np.full(100, 20), np.full(100, 10))
    run = replay(work, Release(ReleaseKind.SPACED, spacing_s=0.5))
    assert (np.diff(run.release_s) >= 0.5 - 1e-9).all()
    assert mean_batch(run) < mean_batch(replay(work, Release()))
    assert busy_j(run) > busy_j(replay(work, Release()))  # what is spaced out is not batched


def test_holding_for_slack_saves_joules_and_keeps_the_targets() -> None:
    work = poisson(rate=1.5)
    work = replace(work, output_tokens=np.full(200, 10))
    free, held = replay(work, Release()), replay(work, Release(ReleaseKind.SLACK_AWARE, margin=0.9))
    assert busy_j(held) < 0.9 * busy_j(free)
    assert account.ledger(held).metered_j < account.ledger(free).metered_j
    assert account.attainment(held, SLO) == account.attainment(free, SLO) == 1.0
    assert (held.release_s - work.arrival_s).max() <= 0.9 * SLO.ttft_s


def test_nobody_is_held_where_two_cost_as_much_as_one_and_one() -> None:
    """Per-token work alone: a batch saves nothing, and the watts are those of a replica that idles."""
    row = flat_law(1e-6)
    row[it.FLOP_PER_PREFILL_TOKEN] = row[it.FLOP_PER_DECODE_TOKEN] = 1.0
    row[it.FLOP_PER_S], row[it.IDLE_W] = 1000.0, 100.1
    work = poisson(40, rate=1.5)
    run = replay(work, Release(ReleaseKind.SLACK_AWARE), own=pool(laws=row))
    assert np.array_equal(run.release_s, work.arrival_s)


def test_urgent_requests_find_room_where_others_wait_for_their_deadline() -> None:
    n = 60
    work = Workload(np.arange(n) * 0.05, np.full(n, 200), np.full(n, 30))
    due = np.where(np.arange(n) % 2 == 0, 60.0, np.inf)
    own = pool(max_num_seqs=4)
    held = replay(work, Release(ReleaseKind.DEADLINE_AWARE, margin_s=5.0), Tags(deadline_s=due), own)
    free = replay(work, Release(), Tags(deadline_s=due), own)
    urgent = np.isinf(due)
    assert np.array_equal(held.release_s[urgent], work.arrival_s[urgent])
    assert (held.release_s[~urgent] > work.arrival_s[~urgent] + 50).all()
    table = account.served_table(held)
    assert (table["end_s"].to_numpy() <= work.arrival_s + due).all()
    assert (held.begun_s - work.arrival_s)[urgent].mean() < (free.begun_s - work.arrival_s)[urgent].mean()


def test_deferred_requests_run_in_the_cleanest_hour_and_others_at_once() -> None:
    work = poisson(40, rate=0.05)
    defer = np.arange(40) % 2 == 0
    rule = Release(ReleaseKind.CARBON, carbon_g_per_kwh=(500.0, 100.0, 300.0), margin_s=60.0)
    tags = Tags(deadline_s=np.full(40, 9000.0), deferrable=defer)
    run = replay(work, rule, tags)
    assert np.array_equal(run.release_s[~defer], work.arrival_s[~defer])
    assert (run.release_s[defer & (work.arrival_s < 3600)] == 3600.0).all()
    table = account.served_table(run)
    assert (table["end_s"].to_numpy() <= work.arrival_s + 9000).all()
    series = np.array(rule.carbon_g_per_kwh)

    def grams(run: paged.FleetRun) -> float:
        record = run.replicas[0].record
        hour = (record[:, lay.START_S] // 3600).astype(int) % 3
        joules = record[:, lay.POWER_W] * (record[:, lay.END_S] - record[:, lay.START_S])
        return float(np.dot(series[hour], joules) / 3.6e6)

    assert grams(run) < grams(replay(work, Release(), tags))


def test_a_windowed_workload_is_held_at_the_door_of_a_fleet() -> None:
    work = replace(poisson(20), release_window_s=0.5)
    assert np.array_equal(replay(work, Release()).release_s, work.release_s)


def test_padding_falls_where_prompts_of_like_length_are_batched() -> None:
    n = 80
    lengths = np.where(np.arange(n) % 2 == 0, 16, 1600)
    work = Workload(np.arange(n) * 1e-4, lengths, np.full(n, 10))
    joules = []
    row = flat_law(0.01)
    row[it.FLOP_PER_PREFILL_TOKEN], row[it.FLOP_PER_S] = 1.0, 1e5
    for order in (Order.FCFS, Order.LENGTH_BUCKETS):
        settings = EngineSettings(scheduling=Scheduling.STATIC, order=order, patience_s=100.0)
        run = replay(work, Release(), own=pool(laws=row, settings=settings, max_num_seqs=8))
        joules.append(busy_j(run))
        assert not run.refused.any()
    assert joules[1] < 0.8 * joules[0]


def crowd(order: Order, patience_s: float, prompts: np.ndarray, arrival_s: np.ndarray, tags: Tags) -> paged.FleetRun:
    settings = EngineSettings(order=order, patience_s=patience_s)
    own = pool(settings=settings, max_num_seqs=2, max_num_batched_tokens=512)
    outputs = 8 + 7 * np.arange(len(prompts)) % 5  # they end one by one
    return replay(Workload(arrival_s, prompts, outputs), Release(), tags, own)


@pytest.mark.parametrize("order", [Order.LENGTH_BUCKETS, Order.KV_ALIGNED, Order.LEAST_LAXITY])
def test_nobody_starves(order: Order) -> None:
    """A long prompt, far from all others and with the latest deadline, comes in when its patience ends."""
    n = 400
    prompts, arrival_s = np.full(n, 10), np.maximum(np.arange(n) - 10, 0) * 0.118
    prompts[3] = 400
    due = np.full(n, 5.0)
    due[3] = 1e6
    tags = Tags(deadline_s=due)
    waits = {}
    for patience_s in (0.0, 3.0, 1e9):
        run = crowd(order, patience_s, prompts, arrival_s, tags)
        waits[patience_s] = float(run.begun_s[3] - arrival_s[3])
    assert waits[0.0] <= waits[3.0] < 3.5
    if order is Order.LEAST_LAXITY:
        assert waits[1e9] > 10
    elif order is Order.KV_ALIGNED:  # the oldest comes in where nobody decodes
        assert waits[1e9] > waits[0.0]


def test_least_laxity_keeps_deadlines_that_first_come_first_served_misses() -> None:
    n = 40
    prompts, arrival_s = np.full(n, 10), np.arange(n) * 1e-3
    due = np.where(np.arange(n) >= 30, 1.0, 60.0)
    met = {}
    for order in (Order.FCFS, Order.LEAST_LAXITY):
        run = crowd(order, 100.0, prompts, arrival_s, Tags(deadline_s=due))
        ends_s = account.served_table(run)["end_s"].to_numpy()
        met[order] = int((ends_s <= arrival_s + due).sum())
    assert met[Order.LEAST_LAXITY] > met[Order.FCFS]


def test_the_latest_start_is_that_of_the_deadline_or_of_the_first_token() -> None:
    work = Workload(np.array([1.0, 1.0]), np.array([10, 10]), np.array([5, 5]))
    own = pool()
    told = latest_start_s(work, Fleet((own,), slo=SLO), Tags(deadline_s=np.array([8.0, np.nan])))
    assert told == pytest.approx([1.0 + 8.0 - (0.02 + 4 * 0.022), 1.0 + 2.0 - 0.02])
    assert np.isinf(latest_start_s(work, Fleet((own,)), Tags())).all()


def test_prompts_of_each_model_are_foreseen_by_its_own_pool() -> None:
    slow = pool(laws=flat_law(1.0), model=2)
    fleet = Fleet((pool(), slow, replace(slow, model=1, role=Role.PREFILL), replace(slow, model=1, role=Role.DECODE)))
    work = Workload(np.zeros(3), np.full(3, 10), np.full(3, 2))
    told = latest_start_s(work, replace(fleet, slo=SLO), Tags(model=np.array([0, 1, 2])))
    assert told == pytest.approx([2.0 - 0.02, 1.0, 1.0])


def test_settings_of_release_and_order_are_checked() -> None:
    with pytest.raises(InputError) as refused:
        Release(ReleaseKind.CARBON, window_s=-1, spacing_s=np.inf, margin=0, margin_s=np.nan, carbon_g_per_kwh=(-1.0,))
    assert len(str(refused.value).split("\n")) == 6
    assert Release.windows(0.0) == Release()
    for kind, words in ((ReleaseKind.WINDOWED, "window_s is 0"), (ReleaseKind.SPACED, "spacing_s is 0")):
        with pytest.raises(InputError, match=words):
            Release(kind)
    with pytest.raises(InputError, match="carbon without carbon_g_per_kwh"):
        Release(ReleaseKind.CARBON)
    with pytest.raises(InputError, match="slack-aware without slo"):
        Fleet((pool(),), release=Release(ReleaseKind.SLACK_AWARE))
    with pytest.raises(InputError, match="patience_s is -1"):
        EngineSettings(patience_s=-1.0)
    with pytest.raises(InputError, match="kv-aligned with static"):
        EngineSettings(order=Order.KV_ALIGNED, scheduling=Scheduling.STATIC)
    work = poisson(3)
    with pytest.raises(InputError, match="deadline_s is absent"):
        replay(work, Release(ReleaseKind.DEADLINE_AWARE))
    wrong = Tags(deadline_s=np.array([1.0, 0.0, 1.0]), predicted_tokens=np.array([1, 0, 1]))
    with pytest.raises(InputError, match=r"predicted_tokens holds 0(.|\n)*deadline_s holds 0"):
        replay(work, Release(), wrong)
    laxity = pool(settings=EngineSettings(order=Order.LEAST_LAXITY))
    with pytest.raises(InputError, match="least-laxity without deadline_s and slo"):
        paged.replay(work, Fleet((laxity,)))
