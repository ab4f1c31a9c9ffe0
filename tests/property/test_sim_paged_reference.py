"""The compiled fleet against the slow one, request by request and iteration by iteration."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from fleet_scenes import FleetScene, fleet_scene
from policy_scenes import policy_scene
from reference_fleet import replay as slowly
from wattlane.sim import paged, stamps
from wattlane.sim.engine import layout as lay

COMPILED = not numba.config.DISABLE_JIT
BATCHES = 8
SCENES = 38  # in a batch


def compare(seed: int, s: FleetScene) -> paged.FleetRun:
    told, servers, horizon_s = slowly(s.workload, s.fleet, s.tags)
    run = paged.replay(s.workload, s.fleet, s.tags)
    for number, (server, found) in enumerate(zip(servers, run.replicas, strict=True)):
        at = f"scene {seed}, replica {number}"
        assert len(found.record) == len(server.timeline), f"{at}: iterations"
        columns = [lay.POWER_W, lay.START_S, lay.END_S, lay.AT_CLOCK]
        wanted = np.array(server.timeline).reshape(-1, 4)
        assert found.record[:, columns] == pytest.approx(wanted, rel=1e-8, abs=1e-12), at
        rests = np.array([r for r in server.rests if r[1] > r[0] or r[2] != 0]).reshape(-1, 3)
        assert found.rests[:, :3] == pytest.approx(rests, rel=1e-8, abs=1e-12), at
    assert run.horizon_s == pytest.approx(horizon_s, rel=1e-12)
    controllers = [c for c in dict.fromkeys(server.controller for server in servers) if c is not None]
    for controller, found in zip(controllers, run.decisions, strict=True):
        assert found == pytest.approx(np.array(controller.decisions()).reshape(found.shape), rel=1e-12), seed
    places, stamps_s = stamps.token_times(run)
    for row, wanted in enumerate(told):
        at = f"scene {seed}, request {row}"
        last = wanted.second or wanted.first
        assert run.refused[row] == (wanted.first.refused or last.refused), at
        assert run.replica[row] == last.replica, at
        assert run.preemptions[row] == wanted.first.preemptions + (wanted.second.preemptions if wanted.second else 0)
        assert run.attempts[row] == wanted.first.attempts + (wanted.second.attempts if wanted.second else 0)
        assert run.cached_tokens[row] == wanted.first.hit_tokens, at
        assert run.recomputed_tokens[row] == wanted.first.recomputed + (
            wanted.second.recomputed if wanted.second else 0
        ), at
        assert run.prefill_j[row] == pytest.approx(wanted.prefill_j, rel=1e-7, abs=1e-9), at
        assert run.decode_j[row] == pytest.approx(wanted.decode_j, rel=1e-7, abs=1e-9), at
        if not run.refused[row]:
            assert stamps_s[places[row] : places[row + 1]] == pytest.approx(wanted.token_s, rel=1e-9, abs=1e-12), at
    return run


@pytest.mark.skipif(COMPILED, reason="the many fleets below are replayed by the compiled kernels")
def test_a_few_fleets_agree_with_the_slow_ones() -> None:
    for seed in range(60):
        compare(seed, fleet_scene(seed, requests=12, longest_output=16))


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_fleet_agrees_with_the_slow_one(batch: int) -> None:
    for seed in range(1000 + batch * SCENES, 1000 + (batch + 1) * SCENES):
        compare(seed, fleet_scene(seed, requests=9, longest_output=14))


@pytest.mark.skipif(COMPILED, reason="the many fleets below are replayed by the compiled kernels")
def test_a_few_fleets_with_policies_agree_with_the_slow_ones() -> None:
    for seed in range(60):
        compare(seed, policy_scene(seed))


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_fleet_with_policies_agrees_with_the_slow_one(batch: int) -> None:
    for seed in range(1000 + batch * SCENES, 1000 + (batch + 1) * SCENES):
        compare(seed, policy_scene(seed))
