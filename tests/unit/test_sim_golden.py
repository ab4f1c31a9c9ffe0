"""Kept replays: the outcome of the slow engine when tools/make_goldens.py was last run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from wattlane.core.types import Deployment
from wattlane.core.workload import Workload
from wattlane.sim import fleet
from wattlane.sim.export import served_table

GOLDEN = Path(__file__).parent.parent / "golden" / "sim_small.json"
SCENES = json.loads(GOLDEN.read_text(encoding="utf-8"))["scenes"]


@pytest.mark.parametrize("number", range(len(SCENES)))
def test_replay_is_the_kept_one(number: int) -> None:
    kept = SCENES[number]
    arrival_s, inputs, outputs, cached = (np.array(column) for column in zip(*kept["requests"], strict=True))
    workload = Workload(arrival_s, inputs, outputs, cached)
    deployment = Deployment("a model", "a GPU", **kept["deployment"])
    law = np.array(kept["law"])
    run = fleet.replay(workload, deployment, law, kept["kv_capacity_tokens"], kept["block_tokens"])
    assert [len(r.record) for r in run.replicas] == kept["iterations"]
    for wanted, found in zip(kept["served"], served_table(run).iter_rows(named=True), strict=True):
        if wanted is None:
            assert found["outcome"] == "refused"
            continue
        token_s = wanted["token_s"]
        assert (found["first_token_s"], found["end_s"]) == pytest.approx((token_s[0], token_s[-1]), rel=1e-12)
        assert found["gaps_s"] == pytest.approx(np.diff(token_s), rel=1e-5)
        joules = (wanted["prefill_j"], wanted["decode_j"])
        assert (found["prefill_j"], found["decode_j"]) == pytest.approx(joules, rel=1e-9, abs=1e-9)


def test_kept_replays_reach_what_they_are_for() -> None:
    assert any(row is None for scene in SCENES for row in scene["served"])
    assert any(scene["law"][6] > 0 for scene in SCENES)
    assert any(scene["law"][6] == 0 for scene in SCENES)
    assert any(len(scene["iterations"]) > 1 for scene in SCENES)
    assert any(scene["deployment"]["release_window_s"] > 0 for scene in SCENES)
    assert any(len(row["token_s"]) == 1 for scene in SCENES for row in scene["served"] if row)
