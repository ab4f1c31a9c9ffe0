"""What must hold of every fleet: nobody and nothing is lost, the account closes, limits and states are kept."""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
import pytest

from fleet_scenes import FleetScene, fleet_scene
from wattlane.core.served import latency
from wattlane.core.types import Slo
from wattlane.sim import account, paged, stamps
from wattlane.sim.engine import layout as lay
from wattlane.sim.engine.arrays import Stage, build, prefixes
from wattlane.sim.engine.drive import drive
from wattlane.sim.fleet_types import Role, Scheduling

# compiling the engine takes longer than the inner loop of a change may; uncompiled it is covered by every check
pytestmark = [] if numba.config.DISABLE_JIT else [pytest.mark.slow]
SEEDS = range(5000, 5012) if numba.config.DISABLE_JIT else range(5000, 5060)


def run_of(s: FleetScene) -> paged.FleetRun:
    return paged.replay(s.workload, s.fleet, s.tags)


@pytest.mark.parametrize("part", range(4))
def test_requests_tokens_and_joules_are_conserved(part: int) -> None:
    for seed in SEEDS[part::4]:
        s = fleet_scene(seed)
        run = run_of(s)
        book = account.ledger(run)
        assert book.balanced(1e-9), seed
        for r in run.replicas:
            shared = float(r.record[:, lay.SHARED_J].sum())
            metered = float(np.dot(r.record[:, lay.POWER_W], r.record[:, lay.END_S] - r.record[:, lay.START_S]))
            assert shared == pytest.approx(metered, rel=1e-9), seed
        table = account.served_table(run, book.idle_j)
        done = table.filter(table["outcome"] == "completed")
        assert len(done) + int(run.refused.sum()) == len(s.workload)
        assert (done["gaps_s"].list.len() == done["output_tokens"] - 1).all()
        assert (run.prefill_j[~run.refused] > 0).all()
        assert (run.decode_j >= 0).all()
        if len(done):
            assert done["idle_j"].sum() == pytest.approx(book.idle_j)
        assert (done["first_token_s"] >= done["release_s"]).all()
        _, stamps_s = stamps.token_times(run)
        assert len(stamps_s) == done["output_tokens"].sum()
        runs = stamps.final_runs(run)
        plain = [p for p in s.fleet.pools if p.settings.draft_tokens == 0]
        if len(plain) == len(s.fleet.pools):
            assert runs[:, 2].sum() == done["output_tokens"].sum()


def test_time_moves_forward_and_is_filled_without_a_hole() -> None:
    for seed in SEEDS[::3]:
        s = fleet_scene(seed)
        run = run_of(s)
        for r in run.replicas:
            spans = np.concatenate([r.record[:, [lay.START_S, lay.END_S]], r.rests[:, :2]])
            spans = spans[np.lexsort((spans[:, 1], spans[:, 0]))]
            assert spans[0, 0] == s.workload.arrival_s[0]
            assert spans[1:, 0] == pytest.approx(spans[:-1, 1], abs=1e-9)
            assert spans[-1, 1] == pytest.approx(run.horizon_s, abs=1e-9)
        power = account.power_series(run, 0.05)
        width = np.append(np.diff(power["t_s"]), run.horizon_s - s.workload.arrival_s[0] - power["t_s"][-1])
        drawn = account.ledger(run).metered_j - float(run.transfer_j.sum())
        assert float(np.dot(power["power_w"], width)) == pytest.approx(drawn, rel=1e-9)


def test_kv_blocks_come_back_and_no_limit_is_passed() -> None:
    """After the last answer every block is free or holds a prefix nobody uses, every seat and every list is empty."""
    for seed in SEEDS[1::3]:
        s = fleet_scene(seed)
        first = [i for i, pool in enumerate(s.fleet.pools) if pool.role is not Role.DECODE]
        split = np.isin(s.tags.model, [p.model for p in s.fleet.pools if p.role is Role.PREFILL])
        names = prefixes(s.workload, s.fleet, s.tags)
        rows = np.arange(len(s.workload))
        stage = Stage(s.workload, s.fleet, s.tags, names, first, s.workload.arrival_s, split, 0.0, rows)
        e = build(stage)
        cursor = np.array([0, 0, 0, -1, -1, 0])
        while (full := drive(e, cursor, rows, stage.members(), 0, *stage.events(), 0.0, np.inf)) != lay.READY:
            e = paged.grown(e, full)
        for rep, (_, pool) in enumerate(stage.replicas()):
            at = e.at[rep]
            resident = int(e.cache[rep, :, lay.RESIDENT].sum())
            assert resident == at[lay.EVICTABLE]
            per = pool.settings.prefix_block_tokens // pool.settings.kv_block_tokens
            assert at[lay.FREE] + resident * per == e.limits[rep, lay.CAPACITY], seed
            assert at[[lay.SEATS, lay.DECODING, lay.QUEUED]].tolist() == [0, 0, 0]
            assert (e.ring[rep] == lay.NONE).all()
            assert not e.cross[rep].any()
            assert not e.adapters[rep, :, lay.USERS].any()
            most = e.record[rep, : at[lay.ITERATION], lay.TOKENS].max(initial=0)
            assert most <= pool.max_num_seqs * (1 + pool.settings.draft_tokens)


def test_attainment_is_that_of_the_served_rows() -> None:
    for seed in SEEDS[2::6]:
        run = run_of(fleet_scene(seed))
        table = account.served_table(run)
        if float(table["gaps_s"].list.len().sum()) == 0:
            continue
        middle = float(np.median(table["gaps_s"].drop_nulls().explode().drop_nulls()))
        for slo in (Slo(0.05, middle * 1.001), Slo(0.5, 1.0)):
            assert account.attainment(run, slo) == latency(table, slo).slo_attainment
        assert account.counts(run)["attempts"] >= len(run.workload)


def test_tables_that_run_full_are_grown_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = [fleet_scene(seed) for seed in SEEDS[:6]]
    whole = [run_of(s) for s in scenes]

    def tight(stage: Stage) -> lay.Engine:
        e = build(stage)
        wide = int(e.limits[:, lay.MAX_SEQS].max())
        return e._replace(
            record=e.record[:, :3].copy(), log=e.log[:, : 2 * wide + 3].copy(), rests=e.rests[:, :65].copy()
        )

    monkeypatch.setattr(paged, "build", tight)
    for s, wanted in zip(scenes, whole, strict=True):
        found = run_of(s)
        assert np.array_equal(found.prefill_j, wanted.prefill_j)
        for a, b in zip(found.replicas, wanted.replicas, strict=True):
            assert np.array_equal(a.record, b.record)


def test_failures_lose_no_request_and_keep_the_joules_spent() -> None:
    retried = 0
    for seed in SEEDS:
        s = fleet_scene(seed)
        if not s.fleet.failures or s.fleet.pools[0].settings.scheduling is Scheduling.STATIC:
            continue
        run = run_of(s)
        retried += int((run.attempts > 0).sum())
        calm = run_of(replace(s, fleet=replace(s.fleet, failures=())))
        assert np.array_equal(run.refused, calm.refused)
        assert account.ledger(run).balanced(1e-9)
    assert retried > 0
