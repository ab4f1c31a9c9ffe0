"""Fleets whose outcome can be written down by hand, and what is refused."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numba
import numpy as np
import pytest
from test_sim_fleet import flat_law, workload

from wattlane.core.errors import InputError
from wattlane.core.served import latency
from wattlane.core.types import Slo
from wattlane.model import iteration as it
from wattlane.sim import account, paged, stamps
from wattlane.sim.engine import layout as lay
from wattlane.sim.engine.advance import SETTLE_EVERY
from wattlane.sim.engine.drafting import luck
from wattlane.sim.fleet_types import (
    EngineSettings,
    Failure,
    Fleet,
    Pool,
    RestState,
    Role,
    Routing,
    Scale,
    Scheduling,
    Tags,
    Transfer,
)

# compiling the engine takes longer than the inner loop of a change may; uncompiled it is covered by every check
pytestmark = [] if numba.config.DISABLE_JIT else [pytest.mark.slow]
ONE = Pool(flat_law(), 1000, max_num_seqs=2, max_num_batched_tokens=10)


def run(work, pool: Pool = ONE, tags: Tags | None = None, **fleet) -> paged.FleetRun:
    return paged.replay(work, Fleet((pool,), **fleet), tags)


def times(found: paged.FleetRun) -> list[list[float]]:
    at, stamps_s = stamps.token_times(found)
    return [stamps_s[a:b].tolist() for a, b in itertools.pairwise(at)]


def settings(pool: Pool = ONE, **changes) -> Pool:
    return replace(pool, settings=replace(pool.settings, **changes))


def test_the_last_arrival_is_preempted_and_recomputed() -> None:
    """Three blocks of 4: both prompts take one; the fifth tokens need two more."""
    pool = settings(replace(ONE, kv_capacity_tokens=12), kv_block_tokens=4)
    found = run(workload((0.0, 4, 4), (0.0, 4, 3)), pool)
    # 1: both prompts. 2: the first takes the last block, the second gives up. 3, 4: the first ends.
    # 5: the second computes its 5 tokens anew. 6: its last token.
    assert times(found) == [[1.0, 2.0, 3.0, 4.0], [1.0, 5.0, 6.0]]
    assert found.preemptions.tolist() == [0, 1]
    assert found.recomputed_tokens.tolist() == [0, 4]
    assert found.prefill_j.tolist() == [50.0, 150.0]
    assert found.decode_j.tolist() == [300.0, 100.0]
    assert account.ledger(found).balanced(1e-12)


def test_a_lower_priority_gives_way_and_a_higher_one_is_admitted_first() -> None:
    pool = settings(replace(ONE, kv_capacity_tokens=12), kv_block_tokens=4, priority=True)
    found = run(workload((0.0, 4, 4), (0.0, 4, 3)), pool, Tags(priority=np.array([5, 1])))
    assert found.preemptions.tolist() == [1, 0]
    narrow = settings(replace(ONE, max_num_seqs=1), priority=True)
    found = run(workload((0.0, 4, 2), (0.1, 4, 1), (0.2, 4, 1)), narrow, Tags(priority=np.array([0, 2, 1])))
    assert times(found) == [[1.0, 2.0], [4.0], [3.0]]


def test_prefixes_are_shared_kept_and_evicted_in_order_of_last_use() -> None:
    law = flat_law(1e-9)
    law[it.FLOP_PER_PREFILL_TOKEN] = 1.0  # a second a computed token
    pool = settings(
        replace(ONE, laws=law, kv_capacity_tokens=12, max_num_batched_tokens=100, max_num_seqs=1),
        prefix_cache=True,
        kv_block_tokens=2,
        prefix_block_tokens=4,
    )
    # prompts of 9: two names and one more token; six blocks hold one request and nothing more
    tags = Tags(prefix_at=np.array([0, 2, 4, 6]), prefix_ids=np.array([1, 2, 1, 2, 1, 3]))
    found = run(workload((0.0, 9, 1), (0.0, 9, 1), (0.0, 9, 1)), pool, tags)
    assert found.cached_tokens.tolist() == [0, 8, 4]
    ends = [row[0] for row in times(found)]
    assert np.diff([0.0, *ends]) == pytest.approx([9.0, 1.0, 5.0])
    assert found.prefill_j == pytest.approx([900.0, 100.0, 500.0])


def test_a_scheduler_ahead_lets_a_request_in_one_iteration_later_and_frees_a_seat_one_later() -> None:
    ahead = settings(schedule_ahead=True)
    late = workload((0.0, 4, 4), (0.5, 4, 1))
    assert times(run(late))[1] == [2.0]
    assert times(run(late, ahead))[1] == [3.0]
    queue = workload((0.0, 4, 2), (0.0, 4, 4), (0.0, 4, 1))
    assert times(run(queue))[2] == [3.0]
    assert times(run(queue, ahead))[2] == [4.0]


def test_padded_batches_pay_alike_and_count_no_padding() -> None:
    pool = settings(scheduling=Scheduling.STATIC)
    found = run(workload((0.0, 4, 4), (0.0, 9, 2), (0.5, 3, 1)), pool)
    assert times(found) == [[1.0, 2.0, 3.0, 4.0], [1.0, 2.0], [5.0]]
    assert found.prefill_j.tolist() == [50.0, 50.0, 100.0]
    assert found.decode_j.tolist() == [150.0, 150.0, 0.0]
    assert found.replicas[0].record[:, lay.TOKENS].tolist() == [0.0, 2.0, 1.0, 1.0, 0.0]


def test_a_waiting_ratio_pauses_decoding_for_prompts() -> None:
    pool = settings(
        replace(ONE, max_num_seqs=8, max_num_batched_tokens=50),
        scheduling=Scheduling.WAITING_RATIO,
        waiting_served_ratio=2.0,
        max_waiting_tokens=3,
    )
    found = run(workload((0.0, 4, 8), (0.5, 4, 2)), pool)
    # one waits beside one that decodes: too few, until the third token after the prompt
    assert times(found)[0] == [1.0, 2.0, 3.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    assert times(found)[1] == [4.0, 5.0]


def test_drafts_give_more_tokens_an_iteration_and_cost_what_they_cost() -> None:
    sure = settings(draft_tokens=2, acceptance=1.0)
    found = run(workload((0.0, 4, 8)), sure)
    assert times(found)[0] == [1.0, *[2.0] * 3, *[3.0] * 3, 4.0]
    never = settings(draft_tokens=2, acceptance=0.0)
    assert times(run(workload((0.0, 4, 3)), never))[0] == [1.0, 2.0, 3.0]
    model = replace(sure, draft_law=flat_law(0.25, 40.0))
    found = run(workload((0.0, 4, 4)), model)
    assert times(found)[0] == pytest.approx([1.25, *[2.75] * 3])
    assert account.ledger(found).metered_j == pytest.approx(200.0 + 3 * 10.0)


def test_drafts_are_accepted_at_the_stated_rate_whatever_the_schedule() -> None:
    draws = np.array([luck(3, r, p) for r in range(60) for p in range(60)])
    assert abs(draws.mean() - 0.5) < 4 * np.sqrt(1 / 12 / len(draws))
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.06


def test_prompts_and_answers_in_pools_of_their_own() -> None:
    law = flat_law()
    law[it.KV_BYTES_PER_TOKEN], law[it.KV_BYTES_PER_S] = 2.0, 1e12
    pools = (replace(ONE, laws=law, role=Role.PREFILL), replace(ONE, laws=law, role=Role.DECODE))
    fleet = Fleet(pools, transfer=Transfer(0.5, 16.0, 3.0))
    found = paged.replay(workload((0.0, 4, 3), (0.0, 4, 1)), fleet)
    # the cache of 8 bytes takes 0.5 + 0.5 s and 24 J
    assert times(found) == [pytest.approx([1.0, 3.0, 4.0]), [1.0]]
    assert found.transfer_j.tolist() == [24.0, 0.0]
    assert found.prefill_j == pytest.approx([74.0, 50.0])
    assert found.replica.tolist() == [1, 0]
    assert account.ledger(found).balanced(1e-12)
    assert account.ledger(found).parts == {"kv_transfer_j": 24.0}


def test_adapters_wait_for_a_slot_and_loading_takes_time() -> None:
    pool = settings(max_loras=1, lora_load_s=0.5, lora_load_j=7.0)
    tags = Tags(adapter=np.array([1, 2, 1]))
    found = run(workload((0.0, 4, 2), (0.0, 4, 1), (0.0, 4, 1)), pool, tags)
    # the second is passed over: its adapter finds no slot before the first and the third have ended
    assert times(found) == [[1.5, 2.5], [4.0], [1.5]]
    assert found.prefill_j.tolist() == [57.0, 107.0, 50.0]


def test_clocks_switch_late_and_a_cap_lowers_them_at_once() -> None:
    laws = np.stack([flat_law(2.0, 60.0), flat_law(1.0, 100.0)])
    phases = replace(ONE, laws=laws, prefill_clock=1, decode_clock=0)
    assert times(run(workload((0.0, 4, 3)), phases))[0] == [1.0, 3.0, 5.0]
    slow = replace(phases, switch_s=0.5)
    # asked for at 0 and back at 2: the low clock it starts with serves the prompt
    assert times(run(workload((0.0, 4, 3)), slow))[0] == [2.0, 4.0, 6.0]
    capped = replace(ONE, laws=laws, power_cap_w=80.0)
    found = run(workload((0.0, 4, 3)), capped)
    assert times(found)[0] == [2.0, 4.0, 6.0]
    assert found.replicas[0].record[:, lay.AT_CLOCK].tolist() == [0.0, 0.0, 0.0]


def test_rest_states_follow_each_other_and_waking_takes_time_and_joules() -> None:
    rests = (RestState("parked", 2.0, 5.0, 1.0, 3.0, 0.5, 4.0),)
    found = run(workload((0.0, 4, 1), (11.0, 4, 1)), replace(ONE, rests=rests))
    assert times(found) == [[1.0], [12.5]]
    (r,) = found.replicas
    # idle 1-3 at 10 W, entry 3-4, parked 4-11 at 5 W, exit 11-11.5
    assert r.rests[:, :3].tolist() == [[1, 3, 20], [3, 4, 3], [4, 11, 35], [11, 11.5, 4]]
    assert account.ledger(found).idle_j == 62.0


def test_a_replica_that_breaks_loses_no_request() -> None:
    pool = replace(ONE, replicas=2, down_w=1.0)
    work = workload((0.0, 4, 4), (0.0, 4, 2), (0.2, 4, 2))
    found = run(work, pool, failures=(Failure(0, 1.5, 6.0),), retry_s=0.25)
    # the first replica had both its requests decoding until 2; they go to the second at 1.75
    assert found.attempts.tolist() == [1, 0, 1]
    assert found.replica.tolist() == [1, 1, 1]
    assert times(found)[1] == [1.0, 2.0]
    assert account.counts(found)["retried"] == 2
    assert account.ledger(found).balanced(1e-12)
    assert found.prefill_j[0] > 100.0  # both attempts


def test_requests_go_to_the_least_loaded_and_only_to_active_replicas() -> None:
    pool = replace(ONE, replicas=2)
    work = workload((0.0, 4, 9), (0.1, 4, 1), (1.5, 4, 3), (1.6, 4, 1))
    assert run(work, pool).replica.tolist() == [0, 1, 0, 1]
    assert run(work, pool, routing=Routing.LEAST_LOADED).replica.tolist() == [0, 1, 1, 0]
    assert run(work, pool, scales=(Scale(1.0, (1,)),)).replica.tolist() == [0, 1, 0, 0]
    rests = (RestState("asleep", 0.5, 1.0, 0.0, 0.0, 2.0, 9.0),)
    woken = run(
        workload((0.0, 4, 1), (9.0, 4, 1)), replace(pool, rests=rests), scales=(Scale(0, (1,)), Scale(5.0, (2,)))
    )
    assert woken.replicas[1].rests[-1, 2] == pytest.approx(10.0 * 0.5 + 1.0 * (woken.horizon_s - 7.5) - 5.0, abs=6)


def test_attainment_counts_refused_requests_as_misses() -> None:
    found = run(workload((0.0, 4, 2), (0.0, 2000, 2)))
    assert found.refused.tolist() == [False, True]
    assert account.attainment(found, Slo(2.0, 2.0)) == 0.5
    assert account.served_table(found)["outcome"].to_list() == ["completed", "refused"]


def test_answers_longer_than_the_running_totals_are_kept_cost_what_their_contexts_cost() -> None:
    law = flat_law(0.001)
    law[it.KV_BYTES_PER_TOKEN], law[it.KV_BYTES_PER_S] = 1.0, 1e9
    output = SETTLE_EVERY + 2_000
    found = run(workload((0.0, 5, output)), replace(ONE, laws=law, kv_capacity_tokens=10**6))
    contexts = (output - 1) * 5 + output * (output - 1) / 2
    assert found.decode_j[0] == pytest.approx(100.0 * (0.001 * (output - 1) + contexts / 1e9), rel=1e-11)
    assert account.ledger(found).balanced(1e-11)


def test_long_answers_attain_by_the_p99_of_their_gaps() -> None:
    law = flat_law(0.01)
    law[it.KV_BYTES_PER_TOKEN], law[it.KV_BYTES_PER_S] = 1.0, 1e4
    pool = replace(ONE, laws=law, kv_capacity_tokens=10**6)
    found = run(workload((0.0, 5, 220), (0.3, 9, 180), (0.6, 4, 150)), pool)
    table = account.served_table(found)
    for target_s in np.linspace(0.02, 0.08, 13):
        slo = Slo(9.0, float(target_s))
        assert account.attainment(found, slo) == latency(table, slo).slo_attainment


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: EngineSettings(acceptance=2.0, kv_block_tokens=0), "kv_block_tokens is 0"),
        (lambda: EngineSettings(acceptance=2.0, kv_block_tokens=0), "acceptance is 2.0"),
        (lambda: EngineSettings(prefix_block_tokens=24), "multiple of kv_block_tokens"),
        (lambda: EngineSettings(scheduling=Scheduling.STATIC, draft_tokens=2), "draft_tokens is set with static"),
        (lambda: EngineSettings(scheduling=Scheduling.STATIC, max_loras=2), "max_loras is set with static"),
        (lambda: Pool(np.zeros(3), 10), "laws have 3 coefficients"),
        (lambda: replace(ONE, replicas=0), "replicas is 0"),
        (lambda: settings(draft_tokens=9), "expected at least 20"),
        (lambda: replace(ONE, decode_clock=1), "decode_clock is 1"),
        (lambda: settings(replace(ONE, role=Role.DECODE), scheduling=Scheduling.STATIC), "role is decode with static"),
        (lambda: replace(ONE, power_cap_w=0.0, switch_s=-1.0), "switch_s is -1.0"),
        (lambda: replace(ONE, rests=(RestState("a", 2, 1), RestState("b", 1, -1))), "b has a negative number"),
        (lambda: Fleet(()), "no pools"),
        (lambda: Fleet((replace(ONE, role=Role.DECODE),)), "expected serve alone, or prefill and decode"),
        (lambda: Fleet((ONE, settings(priority=True))), "pools differ in priority"),
        (lambda: Fleet((ONE,), failures=(Failure(3, 2.0, 1.0),)), "failure of replica 3"),
        (lambda: Fleet((ONE,), failures=(Failure(0, 2.0, 1.0),), retry_s=-1), "is back at 1.0 s"),
        (lambda: Fleet((ONE,), retry_s=-1), "retry_s is -1"),
        (lambda: Fleet((ONE,), scales=(Scale(0.0, (1, 2)),)), "expected a count for each pool"),
        (lambda: run(workload((0.0, 1, 1)), tags=Tags(priority=np.zeros(2, np.int64))), "priority has 2 values"),
        (lambda: run(workload((0.0, 1, 1)), tags=Tags(adapter=np.array([-1]))), "adapter holds -1"),
        (lambda: run(workload((0.0, 1, 1)), tags=Tags(model=np.array([4]))), "ask for models"),
        (lambda: run(workload((0.0, 1, 1)), tags=Tags(prefix_at=np.array([0, 1]))), "come together"),
        (
            lambda: run(workload((0.0, 1, 1)), tags=Tags(prefix_at=np.array([0]), prefix_ids=np.array([3]))),
            "does not cut",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(make, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()


def test_an_account_may_end_after_the_last_token_and_is_charged_for_the_rest() -> None:
    """The replica parks 2 s after its last iteration; nothing else changes."""
    pool = replace(ONE, rests=(RestState("parked", 2.0, 3.0, entry_j=7.0),))
    work = workload((0.0, 4, 4))
    short, long = paged.replay(work, Fleet((pool,))), paged.replay(work, Fleet((pool,)), until_s=20.0)
    idle_w, end_s = float(ONE.laws[-1, it.IDLE_W]), short.horizon_s
    assert long.horizon_s == 20.0
    more_j = account.ledger(long).metered_j - account.ledger(short).metered_j
    assert more_j == pytest.approx(2.0 * idle_w + 7.0 + 3.0 * (20.0 - end_s - 2.0))
    assert account.ledger(long).balanced()
    assert times(long) == times(short)
    assert paged.replay(work, Fleet((pool,)), until_s=0.5).horizon_s == end_s
