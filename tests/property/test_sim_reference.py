"""The compiled engine against the slow one, request by request."""

from __future__ import annotations

import numpy as np
import pytest

from reference_engine import replay as slowly
from sim_scenes import scene
from wattlane.sim import fleet
from wattlane.sim.export import served_table

BATCHES = 8
SCENES = 32  # in a batch


def compare(seed: int) -> None:
    s = scene(seed)
    expected, timelines = slowly(s.workload, s.deployment, s.law, s.kv_capacity_tokens, s.block_tokens)
    run = s.replay()
    table = served_table(run)
    assert [len(r.record) for r in run.replicas] == [len(t) for t in timelines], f"scene {seed}: iterations"
    for wanted, found in zip(expected, table.iter_rows(named=True), strict=True):
        assert found["outcome"] == ("refused" if wanted.refused else "completed")
        assert found["release_s"] == pytest.approx(wanted.release_s, rel=1e-12)
        assert found["replica"] == wanted.row % s.deployment.replicas
        if wanted.refused:
            assert found["first_token_s"] is found["end_s"] is found["prefill_j"] is found["gaps_s"] is None
            continue
        assert found["first_token_s"] == pytest.approx(wanted.token_s[0], rel=1e-9, abs=1e-12)
        assert found["end_s"] == pytest.approx(wanted.token_s[-1], rel=1e-9, abs=1e-12)
        assert found["gaps_s"] == pytest.approx(np.diff(wanted.token_s), rel=1e-5)
        assert found["prefill_j"] == pytest.approx(wanted.prefill_j, rel=1e-8), f"scene {seed}"
        assert found["decode_j"] == pytest.approx(wanted.decode_j, rel=1e-8, abs=1e-9), f"scene {seed}"
    for r, timeline in zip(run.replicas, timelines, strict=True):
        assert np.ravel(r.record[:, [2, 0, 1]]) == pytest.approx(np.ravel(timeline), rel=1e-9, abs=1e-12)
        begun = [expected[row].scheduled_s for row in r.rows[r.served]]
        assert r.record[r.begun[r.served], 0] == pytest.approx(begun, rel=1e-9, abs=1e-12)
    busy_j = sum(watts * (end - start) for t in timelines for watts, start, end in t)
    shared_j = sum(r.prefill_j + r.decode_j for r in expected)
    account = fleet.ledger(run)
    assert account.prefill_j + account.decode_j == pytest.approx(busy_j, rel=1e-9)
    assert shared_j == pytest.approx(busy_j, rel=1e-9)


def test_a_few_scenarios_agree_with_the_slow_engine() -> None:
    for seed in range(12):
        compare(seed)


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_scenario_agrees_with_the_slow_engine(batch: int) -> None:
    for seed in range(100 + batch * SCENES, 100 + (batch + 1) * SCENES):
        compare(seed)
