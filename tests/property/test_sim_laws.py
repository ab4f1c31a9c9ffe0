"""Laws of nature of a replay: what must hold whatever is asked and whatever serves it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_scenes import Scene, scene
from wattlane.core.served import latency
from wattlane.core.types import Ledger, Slo
from wattlane.model import iteration as it
from wattlane.sim import fleet, replica, scoring
from wattlane.sim.export import power_series, served_table
from wattlane.sim.fleet import Replay

seeds = st.integers(0, 2**32 - 1)


def shared_j(run: Replay) -> float:
    return float(sum(r.energy_j.sum() for r in run.replicas))


def busy_j(run: Replay) -> float:
    return sum(scoring.totals(r.record, r.decoding)[1] for r in run.replicas)


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_ledger_closes(seed: int) -> None:
    run = scene(seed).replay()
    for later_s in (0.0, 12.5):
        account = fleet.ledger(run, run.last_end_s + later_s)
        assert account.balanced(1e-9)
        spent = account.metered_j - account.idle_j
        assert account.prefill_j + account.decode_j == pytest.approx(spent, rel=1e-9, abs=1e-9 * account.metered_j)
    given_j = sum(float(r.record[:, replica.SHARED_J].sum()) for r in run.replicas)
    assert given_j == pytest.approx(shared_j(run), rel=1e-9)


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_dropping_the_share_of_any_one_iteration_breaks_the_ledger(seed: int) -> None:
    run = scene(seed).replay()
    account = fleet.ledger(run)
    for r in run.replicas:
        for i in {0, len(r.record) // 2, len(r.record) - 1} if len(r.record) else ():
            dropped = float(r.record[i, replica.SHARED_J])
            short = Ledger(account.metered_j, account.prefill_j - dropped, account.decode_j, account.idle_j)
            assert not short.balanced(1e-9)


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_d11_every_request_and_every_token_is_accounted_for(seed: int) -> None:
    s = scene(seed)
    run = s.replay()
    rows = np.sort(np.concatenate([r.rows for r in run.replicas]))
    assert rows.tolist() == list(range(len(s.workload)))
    table = served_table(run, 1.0)
    done = table.filter(table["outcome"] == "completed")
    assert len(done) + run.refused == len(table) == len(s.workload)
    assert done["gaps_s"].list.len().to_list() == (done["output_tokens"] - 1).to_list()
    decoded = sum(int(r.decoding.sum()) for r in run.replicas)
    assert decoded == int((done["output_tokens"] - 1).sum())
    if len(done):
        assert done["idle_j"].sum() == pytest.approx(1.0)
    gaps = done["gaps_s"].list.sum().to_numpy()
    assert gaps == pytest.approx((done["end_s"] - done["first_token_s"]).to_numpy(), rel=1e-4, abs=1e-9)


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_time_only_moves_forward_and_energy_is_never_negative(seed: int) -> None:
    s = scene(seed)
    run = s.replay()
    for r in run.replicas:
        start, end, power = (r.record[:, column] for column in (replica.START_S, replica.END_S, replica.POWER_W))
        assert (end > start).all()
        assert (start[1:] >= end[:-1]).all()
        assert (power > 0).all()
        assert (power <= s.law[it.LIMIT_W] * (1 + 1e-9)).all()
        ok = r.served
        assert (r.energy_j >= 0).all()
        assert (r.energy_j[ok, replica.PREFILL_J] > 0).all()
        assert (r.energy_j[~ok] == 0).all()
        assert (start[r.begun[ok]] >= run.release_s[r.rows[ok]]).all()
        assert (r.first[ok] >= r.begun[ok]).all()


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_limits_are_kept_in_every_iteration(seed: int) -> None:
    s = scene(seed)
    run = s.replay()
    for r in run.replicas:
        ok = r.served
        held = np.zeros(len(r.record) + 1, np.int64)
        seqs = np.zeros(len(r.record) + 1, np.int64)
        last = r.first + r.requests[:, replica.OUTPUT] - 1
        blocks = -(-(r.requests[:, replica.INPUT] + r.requests[:, replica.OUTPUT]) // s.block_tokens)
        for begun, end, need in zip(r.begun[ok], last[ok], blocks[ok], strict=True):
            held[begun : end + 1] += need
            seqs[begun : end + 1] += 1
        assert held.max() <= s.kv_capacity_tokens // s.block_tokens
        assert seqs.max() <= s.deployment.max_num_seqs
        assert r.decoding.max(initial=0) <= s.deployment.max_num_seqs


@given(seeds, st.floats(0.01, 2.0))
@settings(max_examples=40, deadline=None)
def test_release_holds_a_request_for_less_than_its_window(seed: int, window_s: float) -> None:
    s = scene(seed)
    run = replace(s, deployment=replace(s.deployment, release_window_s=window_s)).replay()
    held_s = run.release_s - s.workload.arrival_s
    assert (held_s >= 0).all()
    assert (held_s < window_s + 1e-9).all()
    assert (np.diff(run.release_s) >= 0).all()


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_equal_requests_that_arrive_together_pay_the_same(seed: int) -> None:
    s = scene(seed, requests=1)
    n = 4
    twins = s.workload.take(np.zeros(n, np.int64), np.full(n, s.workload.arrival_s[0]))
    wide = replace(s.deployment, replicas=1, max_num_seqs=n, max_num_batched_tokens=4000)
    run = replace(s, workload=twins, deployment=wide, kv_capacity_tokens=10**6).replay()
    (r,) = run.replicas
    assert r.energy_j == pytest.approx(np.tile(r.energy_j[0], (n, 1)), rel=1e-9)


@given(seeds, st.sampled_from([1.0, 7.0]))
@settings(max_examples=40, deadline=None)
def test_a_law_without_a_cost_for_something_gives_it_no_price(seed: int, batch: float) -> None:
    """Dummy: context that costs neither time nor energy has no price; nor has a sequence whose token is free."""
    law = scene(seed).law.copy()
    law[it.FLOP_PER_CONTEXT] = law[it.KV_BYTES_PER_TOKEN] = 0.0
    law[it.FLOP_PER_DECODE_TOKEN] = law[it.COMM_PER_TOKEN_S] = law[it.HOST_PER_SEQ_S] = law[it.EXPERTS] = 0.0
    constants = it.decode_constants(law)
    *_, price_p, price_pc, price_d, price_k = it.shares(law, constants, 4e4, 9e5, batch, 300.0)
    assert price_p > 0
    assert price_pc == price_d == price_k == 0.0


@given(seeds, st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_a_longer_prompt_or_answer_never_costs_a_lone_request_less(seed: int, more: int) -> None:
    s = scene(seed, requests=1)

    def cost(extra_in: int, extra_out: int) -> tuple[float, float]:
        w = s.workload
        longer = type(w)(w.arrival_s, w.input_tokens + extra_in, w.output_tokens + extra_out, w.cached_tokens)
        run = replace(s, workload=longer, kv_capacity_tokens=10**6).replay()
        return shared_j(run), run.last_end_s

    joules, end_s = cost(0, 0)
    for change in ((more, 0), (0, more)):
        assert cost(*change)[0] >= joules * (1 - 1e-12)
        assert cost(*change)[1] >= end_s


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_moving_the_clock_moves_every_stamp_and_no_joule(seed: int) -> None:
    s = scene(seed)
    s = replace(s, deployment=replace(s.deployment, release_window_s=0.0))
    later_s = 2.0**20
    moved = replace(s, workload=s.workload.take(np.arange(len(s.workload)), s.workload.arrival_s + later_s))
    one, two = s.replay(), moved.replay()
    account, same = fleet.ledger(one), fleet.ledger(two)
    # an arrival on the very edge of an iteration may fall on its other side
    if [len(r.record) for r in one.replicas] == [len(r.record) for r in two.replicas]:
        assert two.last_end_s - later_s == pytest.approx(one.last_end_s, abs=1e-6)
        assert same.prefill_j + same.decode_j == pytest.approx(account.prefill_j + account.decode_j, rel=1e-9)
    assert same.balanced(1e-9)


@given(seeds, st.floats(0.001, 0.3), st.floats(0.001, 0.05))
@settings(max_examples=60, deadline=None)
def test_attainment_is_that_of_the_served_table(seed: int, ttft_s: float, tbt_s: float) -> None:
    run = scene(seed).replay()
    slo = Slo(ttft_s, tbt_s)
    assert fleet.attainment(run, slo) == latency(in_full(run), slo).slo_attainment


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_attainment_agrees_where_the_p99_gap_lies_between_two_gaps(seed: int) -> None:
    """Long answers are judged by an interpolated p99: targets are drawn from around it."""
    s = scene(seed, longest_output=400)
    run = replace(s, workload=with_outputs(s, 101, 400)).replay()
    table = in_full(run)
    gaps = [np.sort(row.to_numpy()) for row in table["gaps_s"].drop_nulls()]
    for row in gaps[:4]:
        for tbt_s in (np.quantile(row, 0.99), row[-2], row[-2] * (1 + 1e-9), (row[-1] + row[-2]) / 2):
            slo = Slo(1e9, float(tbt_s))
            assert fleet.attainment(run, slo) == latency(table, slo).slo_attainment


def in_full(run: Replay):
    """Return the served table with gaps in double precision, as the engine has them."""
    import polars as pl

    table = served_table(run)
    gaps: list[list[float] | None] = [None] * len(table)
    for r in run.replicas:
        for row, first, output in zip(r.rows, r.first, r.requests[:, replica.OUTPUT], strict=True):
            if first != replica.REFUSED:
                gaps[row] = np.diff(r.record[first : first + output, replica.END_S]).tolist()
    return table.with_columns(gaps_s=pl.Series(gaps, dtype=pl.List(pl.Float64)))


def with_outputs(s: Scene, least: int, most: int):
    rng = np.random.default_rng(0)
    w = s.workload
    return type(w)(w.arrival_s, w.input_tokens, rng.integers(least, most, len(w)), w.cached_tokens)


@given(seeds, st.sampled_from([0.5, 0.9, 0.99]))
@settings(max_examples=40, deadline=None)
def test_gap_quantile_is_exact_to_the_width_of_a_bin(seed: int, q: float) -> None:
    run = scene(seed).replay()
    gaps = np.concatenate([np.empty(0), *(np.array(row) for row in in_full(run)["gaps_s"].drop_nulls())])
    found = fleet.tbt_quantile_s(run, q)
    if len(gaps) == 0:
        assert found == 0.0
        return
    width = 10 ** (1 / scoring.BINS_PER_DECADE) - 1
    exact = np.quantile(gaps, q, method="inverted_cdf")
    assert found == pytest.approx(exact, rel=width)


@given(seeds, st.floats(0.005, 2.0), st.floats(0.0, 5.0))
@settings(max_examples=40, deadline=None)
def test_power_over_time_integrates_to_the_metered_energy(seed: int, bin_s: float, later_s: float) -> None:
    run = scene(seed).replay()
    end_s = run.last_end_s + later_s
    series = power_series(run, end_s, bin_s)
    start_s = float(run.workload.arrival_s[0])
    edges = np.append(series["t_s"].to_numpy(), end_s - start_s)
    joules = float(np.sum(series["power_w"].to_numpy() * np.diff(edges))) if end_s > start_s else 0.0
    assert joules == pytest.approx(fleet.ledger(run, end_s).metered_j, rel=1e-9, abs=1e-6)
    assert (series["power_w"].to_numpy() >= 0).all()
