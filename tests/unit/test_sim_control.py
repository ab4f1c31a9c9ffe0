"""A controller ticks on time, sees what happened since, follows the load without swinging, and loses nobody."""

from __future__ import annotations

import math
from dataclasses import replace

import numba
import numpy as np
import pytest
from test_sim_fleet import flat_law

from policy_scenes import policy_scene
from reference_fleet import replay as slowly
from wattlane.core.errors import InputError
from wattlane.core.types import Slo
from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.model.jit import kernel
from wattlane.policy import scale
from wattlane.sim import account, paged
from wattlane.sim.engine import layout as lay
from wattlane.sim.engine.arrays import Stage, build
from wattlane.sim.engine.drive import drive
from wattlane.sim.fleet_types import Fleet, Pool, RestState, Routing, Scale, Scaling, ScalingKind, Tags

# What would prove it wrong: totals that are not those of the record; a count outside its bounds; a fleet that swings
# under a constant load; a request lost with a replica that is given up; a saving where predicted lengths are too long.

UNCOMPILED = numba.config.DISABLE_JIT
pytestmark = [] if UNCOMPILED else [pytest.mark.slow]
SLO = Slo(ttft_s=1.0, tbt_s=0.1)
RESTS = (RestState("parked", 2.0, 5.0, 0.1, 1.0, 0.5, 20.0),)


def pool(replicas: int = 6) -> Pool:
    """8 sequences at most, each token 36 ms: about 2.5 requests of 20 tokens a second."""
    row = flat_law(0.02)
    row[it.SEQ_S], row[it.IDLE_W] = 0.002, 60.0
    return Pool(row, 100_000, replicas=replicas, max_num_seqs=8, max_num_batched_tokens=512, rests=RESTS)


def steps(rates: tuple[float, ...], each_s: float, seed: int = 0) -> Workload:
    """Return Poisson arrivals at one rate after another, answers of 4 to 60 tokens."""
    rng = np.random.default_rng(seed)
    arrival_s = []
    for i, rate in enumerate(rates):
        arrival_s.append(np.sort(rng.uniform(i * each_s, (i + 1) * each_s, rng.poisson(rate * each_s))))
    joined = np.concatenate(arrival_s)
    n = len(joined)
    return Workload(joined, rng.integers(5, 40, n), np.minimum(4 + rng.exponential(20, n), 60).astype(int))


def replay(work: Workload, scaling: Scaling | None, tags: Tags | None = None, **fleet) -> paged.FleetRun:
    chosen = Fleet((pool(),), routing=Routing.LEAST_LOADED, slo=SLO, scaling=scaling, **fleet)
    return paged.replay(work, chosen, tags)


def active(run: paged.FleetRun) -> list[int]:
    return [int(c) for c in run.decisions[0][:, 1]]


def reversals(counts: list[int]) -> int:
    moves = np.sign(np.diff(counts))
    return int((np.diff(moves[moves != 0]) != 0).sum())


@pytest.mark.skipif(not UNCOMPILED, reason="needs no kernel")
def test_controllers_of_the_scenes_park_and_wake() -> None:
    """The scenes that the kernels are compared on reach both, under either rule."""
    parked = dict.fromkeys(ScalingKind, 0)
    for seed in range(1000, 1060):
        s = policy_scene(seed)
        if s.fleet.scaling is not None and s.fleet.replicas > 1:
            _, servers, _ = slowly(s.workload, s.fleet, s.tags)
            parked[s.fleet.scaling.kind] += any(not server.active for server in servers)
    assert min(parked.values()) > 3


def test_totals_are_those_of_the_record() -> None:
    """Energy and seconds of all iterations, tokens, requests and late ones add up to what the run says."""
    work = steps((20.0,), 5.0)
    scaling = Scaling(period_s=0.7)
    fleet = Fleet((pool(2),), routing=Routing.LEAST_LOADED, slo=Slo(0.3, 0.03), scaling=scaling)
    n = len(work)
    none = (np.zeros(n + 1, np.int64), np.zeros(0, np.int64), 0)
    at_s = work.arrival_s
    stage = Stage(work, fleet, Tags(), none, [0], at_s, np.zeros(n, bool), float(at_s[0]), np.arange(n))
    e = build(stage)
    cursor = np.array([0, 0, 0, lay.NONE, lay.NONE, 0])
    while (full := drive(e, cursor, stage.rows, stage.members(), 1, *stage.events(), 0.0, np.inf)) != lay.READY:
        e = paged.grown(e, full)
    run = paged.replay(work, fleet)
    told = account.served_table(run)
    for rep, r in enumerate(run.replicas):
        seconds = r.record[:, lay.END_S] - r.record[:, lay.START_S]
        totals = e.totals[rep]
        assert totals[lay.TAKEN] == len(r.record)
        assert totals[lay.BUSY_S] == pytest.approx(seconds.sum())
        assert totals[lay.BUSY_J] == pytest.approx(np.dot(r.record[:, lay.POWER_W], seconds))
        assert totals[lay.OUTPUT_TOKENS] == r.record[:, lay.TOKENS].sum()
        assert totals[lay.LATE_TOKENS] == r.record[seconds > 0.03, lay.TOKENS].sum()
        here = run.replica == rep
        assert totals[lay.ARRIVALS] == totals[lay.FIRSTS] == here.sum()
        assert totals[lay.PROMPT_TOKENS] == work.input_tokens[here].sum()
        assert totals[lay.EXPECTED_TOKENS] == here.sum() * round(float(work.output_tokens.mean()))
        ttft_s = told["first_token_s"].to_numpy() - at_s
        assert totals[lay.LATE_FIRSTS] == (ttft_s[here] > 0.3).sum()
    assert e.totals[:, lay.LATE_FIRSTS].sum() > 0
    assert np.isinf(e.control[0, lay.NEXT_S])  # with nobody left it ticks no more


@pytest.mark.parametrize("kind", list(ScalingKind))
def test_parking_saves_joules_and_loses_nobody(kind: ScalingKind) -> None:
    work = steps((4.0, 1.0), 30.0)
    run, all_on = replay(work, Scaling(kind, period_s=2.0)), replay(work, None)
    table = account.served_table(run)
    assert (table["outcome"] == "completed").all()
    assert int(table["output_tokens"].sum()) == int(work.output_tokens.sum())
    assert account.ledger(run).balanced(1e-9)
    assert account.ledger(run).metered_j < account.ledger(all_on).metered_j
    assert all(1 <= count <= 6 for count in active(run))


def test_more_load_takes_more_replicas() -> None:
    counts = [max(active(replay(steps((rate,), 40.0), Scaling(period_s=4.0)))) for rate in (1.0, 8.0, 20.0)]
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


@pytest.mark.skipif(UNCOMPILED, reason="needs the compiled kernels")
def test_s8_a_step_of_load_is_followed_without_oscillation() -> None:
    """stojkovic2024 S8: up once, down once, and constant in between."""
    each_s = 300.0
    run = replay(steps((2.0, 12.0, 2.0), each_s), Scaling(ScalingKind.DYNAMO, period_s=10.0))
    when, counts = run.decisions[0][:, 0], active(run)
    assert max(counts) > 2
    assert reversals(counts) <= 3
    settled = [c for at, c in zip(when, counts, strict=True) if each_s + 100.0 < at < 2 * each_s]
    assert len(settled) <= 2


@pytest.mark.skipif(UNCOMPILED, reason="needs the compiled kernels")
def test_s8_mispredicted_lengths_cost_energy_or_misses_and_misses_are_bounded() -> None:
    """stojkovic2024 S8: 40 % too long keeps more replicas awake; 40 % too short lets requests come late, until the
    distress it causes takes one more. Lengths swapped between requests average out over a period."""
    joules: dict[str, list[float]] = {}
    missed: dict[str, list[float]] = {}
    for seed in range(3):
        work = steps((6.0, 14.0, 6.0), 200.0, seed)
        out = work.output_tokens
        for name, tags, error in (
            ("right", Tags(predicted_tokens=out), None),
            ("long", Tags(predicted_tokens=np.rint(out * 1.4).astype(int)), None),
            ("short", Tags(predicted_tokens=np.maximum(1, np.rint(out * 0.6)).astype(int)), None),
            ("swapped", None, 0.4),
        ):
            run = replay(work, Scaling(ScalingKind.DYNAMO, period_s=10.0), tags, length_error=error)
            joules.setdefault(name, []).append(account.ledger(run).metered_j)
            missed.setdefault(name, []).append(1.0 - account.attainment(run, SLO))
    mean_j = {name: float(np.mean(values)) for name, values in joules.items()}
    misses = {name: float(np.mean(values)) for name, values in missed.items()}
    assert mean_j["long"] > 1.02 * mean_j["right"]
    assert misses["long"] <= misses["right"] + 0.01
    assert misses["short"] > misses["right"]
    assert misses["short"] < misses["right"] + 0.1
    assert abs(mean_j["swapped"] / mean_j["right"] - 1.0) < 0.03


def test_swapped_lengths_are_as_many_as_the_error_says() -> None:
    from wattlane.sim.engine.arrays import expected_tokens

    work = Workload(np.arange(5000.0), np.ones(5000, int), np.arange(1, 5001))
    fleet = Fleet((pool(),), length_error=0.4)
    wrong = expected_tokens(work, fleet, Tags()) != work.output_tokens
    assert wrong.mean() == pytest.approx(0.4, abs=0.02)
    assert np.array_equal(expected_tokens(work, replace(fleet, length_error=0.0), Tags()), work.output_tokens)
    assert set(expected_tokens(work, replace(fleet, length_error=None), Tags())) == {2500}


def test_decisions_outgrow_their_table(monkeypatch: pytest.MonkeyPatch) -> None:
    work = steps((1.0, 12.0) * 2, 10.0)
    scaling = Scaling(period_s=1.0)
    whole = replay(work, scaling)

    def tight(stage: Stage) -> lay.Engine:
        e = build(stage)
        return e._replace(decisions=e.decisions[:, :1].copy())

    monkeypatch.setattr(paged, "build", tight)
    assert len(whole.decisions[0]) > 3
    assert np.array_equal(replay(work, scaling).decisions[0], whole.decisions[0])


def test_scaling_says_all_that_is_wrong() -> None:
    with pytest.raises(InputError) as refused:
        Scaling(period_s=math.inf, target=0.0, pressure=-1, least=0, hysteresis=1.0, patience=0)
    assert len(str(refused.value).split("\n")) == 7
    with pytest.raises(InputError, match=r"parking without slo(.|\n)*both set"):
        Fleet((pool(),), scaling=Scaling(), scales=(Scale(0.0, (1,)),))
    with pytest.raises(InputError, match="length_error is 2"):
        Fleet((pool(),), length_error=2.0)


def test_rules_of_scaling_by_hand() -> None:
    assert scale.parking(2.0, 0.8, 0, 6, 4, 1, 6) == 3
    assert scale.parking(2.4, 0.8, 0, 6, 4, 1, 6) == 3  # rounding adds no replica
    assert scale.parking(0.0, 0.8, 0, 3, 4, 1, 6) == 1
    assert scale.parking(0.0, 0.8, 13, 3, 4, 1, 6) == 4
    assert scale.parking(99.0, 0.8, 0, 3, 4, 1, 6) == 6
    assert scale.band(2.0, 2.0, 0.8, 0.2) == (3, 4)
    assert scale.band(2.0, 1.0, 0.8, 0.0) == (4, 4)  # a rise goes on
    assert scale.band(1.0, 2.0, 0.8, 0.0) == (2, 2)  # a fall does not
    assert scale.dynamo(4, 5, False, 0, 3, 2, 1, 6) == 4
    assert scale.dynamo(2, 3, False, 2, 3, 5, 1, 6) == 5
    assert scale.dynamo(2, 3, False, 3, 3, 5, 1, 6) == 3
    assert scale.dynamo(2, 4, False, 9, 3, 3, 1, 6) == 3
    assert scale.dynamo(2, 3, True, 0, 3, 5, 1, 6) == 6
    assert scale.dynamo(0, 0, False, 9, 3, 5, 2, 6) == 2
    for rule, arguments in (
        (scale.parking, (2.0, 0.8, 13, 3, 4, 1, 6)),
        (scale.band, (2.0, 1.0, 0.8, 0.2)),
        (scale.dynamo, (2, 3, True, 0, 3, 5, 1, 6)),
    ):
        assert kernel(rule)(*arguments) == rule(*arguments)
