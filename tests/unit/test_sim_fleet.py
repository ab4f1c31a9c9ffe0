"""Replays whose outcome can be written down by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sim_scenes import scene
from wattlane.core.errors import InputError
from wattlane.core.types import Deployment, Slo
from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.sim import fleet, replica, scoring
from wattlane.sim.export import power_series, served_table

ONE = Deployment("a model", "a GPU", max_num_seqs=2, max_num_batched_tokens=10)


def flat_law(seconds: float = 1.0, watts: float = 100.0) -> np.ndarray:
    """A law under which every iteration takes the same time at the same power."""
    law = np.zeros(it.N)
    law[it.HOST_S], law[it.STATIC_W], law[it.LIMIT_W], law[it.IDLE_W] = seconds, watts, 1000.0, 10.0
    for divisor in (it.WEIGHT_BYTES_PER_S, it.KV_BYTES_PER_S, it.FLOP_PER_S, it.ATTENTION_FLOP_PER_S):
        law[divisor] = 1.0
    return law


def workload(*rows: tuple[float, int, int]) -> Workload:
    arrival_s, inputs, outputs = (np.array(column) for column in zip(*rows, strict=True))
    return Workload(arrival_s, inputs, outputs)


def test_prompts_are_cut_to_the_budget_and_decoding_goes_first() -> None:
    run = fleet.replay(workload((0.0, 4, 4), (0.5, 21, 2)), ONE, flat_law(), 1000)
    (r,) = run.replicas
    # prompt 4 | 1 + 9 of 21 | 1 + 9 of 21 | 1 + 3 of 21 | decode of the second
    assert r.record[:, 1].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert r.decoding.tolist() == [0, 1, 1, 1, 1]
    assert r.begun.tolist() == [0, 1]
    assert r.first.tolist() == [0, 3]
    table = served_table(run)
    assert table["first_token_s"].to_list() == [1.0, 4.0]
    assert table["end_s"].to_list() == [4.0, 5.0]
    assert table["gaps_s"].to_list() == [[1.0, 1.0, 1.0], [1.0]]
    assert run.mean_batch == pytest.approx(0.8)
    # every iteration costs 100 J, shared equally by whoever is in it
    assert r.energy_j.tolist() == [[100.0, 150.0], [150.0, 100.0]]


def test_third_request_waits_for_a_sequence_and_a_large_one_for_blocks() -> None:
    run = fleet.replay(workload((0.0, 2, 3), (0.0, 2, 5), (0.0, 2, 1)), ONE, flat_law(), 1000)
    assert run.replicas[0].begun.tolist() == [0, 0, 3]
    run = fleet.replay(workload((0.0, 2, 3), (0.0, 8, 8)), ONE, flat_law(), 32, 16)
    assert run.replicas[0].begun.tolist() == [0, 0]
    run = fleet.replay(workload((0.0, 2, 3), (0.0, 8, 9)), ONE, flat_law(), 32, 16)
    assert run.replicas[0].begun.tolist() == [0, 3]


def test_request_that_can_never_fit_is_refused_and_the_rest_is_served() -> None:
    run = fleet.replay(workload((0.0, 100, 10), (1.0, 4, 2)), ONE, flat_law(), 32, 16)
    table = served_table(run, 6.0)
    assert run.refused == 1
    assert table["outcome"].to_list() == ["refused", "completed"]
    assert table["end_s"].to_list() == [None, 3.0]
    assert table["idle_j"].to_list() == [None, 6.0]
    assert table["gaps_s"].to_list() == [None, [1.0]]
    assert fleet.attainment(run, Slo(10.0, 10.0)) == 0.5
    assert fleet.ttft_s(run).tolist() == [1.0]


def test_nobody_served_leaves_only_idle_power() -> None:
    run = fleet.replay(workload((0.0, 100, 10), (5.0, 100, 10)), replace(ONE, replicas=3), flat_law(), 32, 16)
    account = fleet.ledger(run, 10.0)
    assert (account.metered_j, account.idle_j, account.prefill_j) == (300.0, 300.0, 0.0)
    assert account.balanced()
    assert run.mean_batch == 0.0
    assert fleet.tbt_quantile_s(run, 0.99) == 0.0
    assert power_series(run, 10.0, 5.0)["power_w"].to_list() == [30.0, 30.0]


def test_cached_tokens_are_not_computed_but_the_last_one_always_is() -> None:
    cached = Workload(np.zeros(2), np.array([9, 9]), np.array([1, 1]), np.array([5, 9]))
    law = flat_law(1e-9)
    law[it.FLOP_PER_PREFILL_TOKEN] = 1.0
    run = fleet.replay(cached, replace(ONE, max_num_seqs=1), law, 1000)
    (r,) = run.replicas
    assert r.record[:, 1] - r.record[:, 0] == pytest.approx([4.0, 1.0])


def test_round_robin_sends_every_second_request_to_the_second_replica() -> None:
    run = fleet.replay(workload(*[(0.1 * i, 3, 2) for i in range(5)]), replace(ONE, replicas=2), flat_law(), 1000)
    assert [r.rows.tolist() for r in run.replicas] == [[0, 2, 4], [1, 3]]
    assert served_table(run)["replica"].to_list() == [0, 1, 0, 1, 0]


def test_arrivals_may_lie_before_zero_or_count_from_1970() -> None:
    for zero_s in (-50.0, 1.7e9):
        run = fleet.replay(workload((zero_s, 4, 3), (zero_s + 20.0, 4, 3)), ONE, flat_law(0.01), 1000)
        assert run.replicas[0].record[0, 0] == zero_s
        assert fleet.ledger(run).balanced(1e-9)


def test_budget_below_the_batch_and_a_horizon_too_short_are_refused() -> None:
    asked = workload((0.0, 4, 3))
    with pytest.raises(InputError, match="max_num_batched_tokens is 10, below max_num_seqs 64"):
        fleet.replay(asked, replace(ONE, max_num_seqs=64), flat_law(), 1000)
    with pytest.raises(InputError, match="horizon ends at"):
        fleet.ledger(fleet.replay(asked, ONE, flat_law(), 1000), 0.5)


def test_prompt_of_more_iterations_than_the_record_starts_with_is_replayed_whole() -> None:
    narrow = replace(ONE, max_num_seqs=1, max_num_batched_tokens=1)
    run = fleet.replay(workload((0.0, 4_500, 2)), narrow, flat_law(0.001), 10_000)
    (r,) = run.replicas
    assert len(r.record) == 4_501
    assert r.first.tolist() == [4_499]
    assert r.energy_j[0] == pytest.approx([450.0, 0.1], rel=1e-9)


def test_answers_longer_than_the_running_totals_are_kept_cost_what_their_contexts_cost() -> None:
    law = flat_law(0.001)
    law[it.KV_BYTES_PER_TOKEN], law[it.KV_BYTES_PER_S] = 1.0, 1e9
    outputs = np.array([replica.SETTLE_EVERY + 3_000, replica.SETTLE_EVERY + 1_000])
    run = fleet.replay(workload((0.0, 5, outputs[0]), (0.0, 4, outputs[1])), ONE, law, 10**6)
    (r,) = run.replicas
    assert fleet.ledger(run).balanced(1e-12)
    for tokens, shared, energy_j in zip((5, 4), (outputs[1] - 1, outputs[1] - 1), r.energy_j, strict=True):
        output = outputs[0] if tokens == 5 else outputs[1]
        alone = output - 1 - shared
        contexts = (output - 1) * tokens + output * (output - 1) / 2
        exact_j = 100.0 * (0.001 * (shared / 2 + alone) + contexts / 1e9)
        assert energy_j[1] == pytest.approx(exact_j, rel=1e-11)


@pytest.mark.slow
def test_ledger_closes_over_a_replay_that_is_never_idle() -> None:
    rng = np.random.default_rng(1)
    n = 30_000
    busy = Workload(np.sort(rng.uniform(0, 10.0, n)), rng.integers(1, 2000, n), rng.integers(1, 800, n))
    base = scene(3)
    law = base.law.copy()
    run = fleet.replay(busy, replace(ONE, max_num_seqs=8, max_num_batched_tokens=512), law, 10**7)
    (r,) = run.replicas
    assert len(r.record) > 1_000_000
    assert abs(fleet.ledger(run).residual_j) <= 1e-11 * fleet.ledger(run).metered_j
    seconds, joules, sequence_s = scoring.totals(r.record, r.decoding)
    assert seconds == pytest.approx(r.busy_s)
    assert joules == pytest.approx(float(r.record[:, 3].sum()), rel=1e-9)
    assert sequence_s / seconds == pytest.approx(run.mean_batch)
