"""Power budgets in a fleet: outcomes that can be written down by hand, what a budget may not hide, what is refused."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numba
import numpy as np
import pytest
from test_sim_fleet import flat_law, workload

from fleet_scenes import fleet_scene
from wattlane.core.errors import InputError
from wattlane.model import iteration as it
from wattlane.sim import account, paged, stamps
from wattlane.sim.capping import CapKind, Capping
from wattlane.sim.engine import layout as lay
from wattlane.sim.engine.arrays import highest_below
from wattlane.sim.fleet_types import Fleet, Pool, Role, Routing

# compiling the engine takes longer than the inner loop of a change may; uncompiled it is covered by every check
pytestmark = [] if numba.config.DISABLE_JIT else [pytest.mark.slow]


def law(seconds: float, watts: float, clock: float) -> np.ndarray:
    out = flat_law(seconds, watts)
    out[it.FLOP_PER_S] = clock
    return out


LAWS = np.stack([law(4.0, 40.0, 0.5), law(2.0, 60.0, 0.75), law(1.0, 140.0, 1.0)])
ONE = Pool(LAWS, 1000, max_num_seqs=2, max_num_batched_tokens=10)


def run(*rows: tuple[float, int, int], pools: tuple[Pool, ...] = (ONE,), **fleet) -> paged.FleetRun:
    return paged.replay(workload(*rows), Fleet(pools, **fleet))


def times(found: paged.FleetRun) -> list[list[float]]:
    at, stamps_s = stamps.token_times(found)
    return [stamps_s[a:b].tolist() for a, b in itertools.pairwise(at)]


def test_a_static_cap_is_never_exceeded_but_at_the_lowest_clock() -> None:
    capped = 0
    for seed in range(6000, 6060):
        s = fleet_scene(seed)
        plain = [p for p in s.fleet.pools if p.settings.draft_tokens == 0 and p.settings.max_loras == 0]
        if len(plain) < len(s.fleet.pools):
            continue
        budget_w = 0.8 * s.fleet.replicas * float(s.fleet.pools[0].laws[-1, it.STATIC_W])
        fleet = replace(s.fleet, capping=Capping(CapKind.STATIC, budget_w))
        for r in paged.replay(s.workload, fleet, s.tags).replicas:
            above = r.record[:, lay.POWER_W] > budget_w / s.fleet.replicas * (1 + 1e-9)
            assert (r.record[above, lay.AT_CLOCK] == 0).all(), seed
            capped += int((~above & (r.record[:, lay.AT_CLOCK] < len(r.pool.laws) - 1)).sum())
    assert capped > 100


def test_static_caps_go_by_gpus() -> None:
    """200 W for three GPUs: 133 W suffice two of them for the middle clock, 67 W are enough for it as well."""
    pools = (replace(ONE, gpus=2), replace(ONE, laws=LAWS[1:]))
    found = run((0.0, 4, 2), (0.0, 4, 2), pools=pools, capping=Capping(CapKind.STATIC, 200.0))
    assert [r.record[:, lay.POWER_W].tolist() for r in found.replicas] == [[60.0, 60.0], [60.0, 60.0]]
    found = run((0.0, 4, 2), (0.0, 4, 2), pools=pools, capping=Capping(CapKind.STATIC, 225.0))
    assert [r.record[:, lay.POWER_W].tolist() for r in found.replicas] == [[140.0, 140.0], [60.0, 60.0]]


def test_polca_lowers_everybody_above_the_second_threshold_and_lets_go_by_stages() -> None:
    """140 W of 150: above 89 %. Two seconds on, all run at 0.75 of the clock; 60 W let go a stage every two seconds."""
    found = run((0.0, 4, 7), capping=Capping(CapKind.POLCA, 150.0, period_s=2.0))
    assert times(found) == [[1.0, 2.0, 4.0, 5.0, 6.0, 8.0, 9.0]]
    assert account.over_budget(found, 150.0)["seconds_above"] == 0.0


def test_polca_brakes_above_the_budget_and_what_was_above_it_is_told() -> None:
    found = run((0.0, 4, 6), capping=Capping(CapKind.POLCA, 100.0, period_s=2.0))
    # brake from 2 s, seen from an iteration of 4 s: at 4 s one stage back, at 6 s another, which caps nobody here
    assert times(found) == [[1.0, 2.0, 6.0, 7.0, 8.0, 12.0]]
    told = account.over_budget(found, 100.0)
    assert told["seconds_above"] == 4.0
    assert told["largest_excess_w"] == pytest.approx(40.0)
    assert told["excess_j"] == pytest.approx(160.0)
    assert told["peak_w"] == 140.0


def test_polca_lowers_the_pools_of_low_priority_first() -> None:
    """Both replicas draw 280 W of 340, 82 %: above the first threshold only."""
    rule = Capping(CapKind.POLCA, 340.0, period_s=2.0, low_pools=(1,), release=0.01)
    found = run((0.0, 4, 4), (0.0, 4, 4), pools=(ONE, replace(ONE, name="low")), capping=rule)
    assert times(found) == [[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 4.0, 5.0]]


def test_tapas_lowers_the_hot_and_sends_requests_elsewhere() -> None:
    """Twice the time constant at 140 W and 1 C/W: 25 + 140·(1 − e^−2) = 146 C."""
    rule = Capping(CapKind.TAPAS, 1e6, period_s=2.0, c_per_w=1.0, warm_s=1.0, limit_c=140.0, band_c=5.0)
    rows = [(0.0, 4, 4), (2.5, 4, 1)]
    cool = run(*rows, pools=(replace(ONE, replicas=2),), routing=Routing.LEAST_LOADED)
    assert cool.replica.tolist() == [0, 1]
    found = run(*rows, pools=(replace(ONE, replicas=2),), capping=rule)
    # two steps down at 2 s, one up at 4 s and at 6 s, where 40 W have let it cool
    assert times(found)[0] == [1.0, 2.0, 6.0, 7.0]
    assert found.replica.tolist() == [0, 1]
    # round robin would send the third to the first replica, which is still hot
    three = run(*rows, (2.6, 4, 1), pools=(replace(ONE, replicas=2),), capping=rule)
    assert three.replica.tolist() == [0, 1, 1]


def test_power_above_a_budget_is_what_a_slow_count_finds() -> None:
    for seed in range(6000, 6012):
        s = fleet_scene(seed)
        found = paged.replay(s.workload, s.fleet, s.tags)
        spans = []
        for r in found.replicas:
            spans += [tuple(row) for row in r.record[:, [lay.START_S, lay.END_S, lay.POWER_W]].tolist()]
            spans += [(a, b, j / (b - a)) for a, b, j, _ in r.rests.tolist() if b > a]
        edges = sorted({t for a, b, _ in spans for t in (a, b)})
        budget_w = 0.5 * account.over_budget(found, math.inf)["peak_w"]
        seconds = joules = peak_w = 0.0
        for a, b in itertools.pairwise(edges):
            watts = sum(w for start, end, w in spans if start <= a and b <= end)
            peak_w = max(peak_w, watts)
            if watts > budget_w * (1 + 1e-9):
                seconds += b - a
                joules += (watts - budget_w) * (b - a)
        told = account.over_budget(found, budget_w)
        assert told["seconds_above"] == pytest.approx(seconds, abs=1e-6)
        assert told["excess_j"] == pytest.approx(joules, rel=1e-6, abs=1e-6)
        assert told["peak_w"] == pytest.approx(peak_w, rel=1e-6)


def test_a_share_of_the_clock_is_the_highest_below_it() -> None:
    clocks = np.array([0.5, 0.75, 1.0])
    assert [highest_below(clocks, share) for share in (0.1, 0.5, 0.74, 0.75, 0.9, 1.0)] == [0, 0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Capping(CapKind.POLCA, 0.0, low_first=0.0), "budget_w is 0.0"),
        (lambda: Capping(CapKind.POLCA, 0.0, low_first=0.0), "low_first is 0.0"),
        (lambda: Capping(CapKind.POLCA, 9.0, first=0.95), "expected shares, 0 < first <= second"),
        (lambda: Capping(CapKind.POLCA, 9.0, release=0.9), "release is 0.9"),
        (lambda: Capping(CapKind.TAPAS, 9.0, limit_c=20.0), "limit_c is 20.0"),
        (lambda: Capping(CapKind.POLCA, 9.0, low_pools=(-1,)), "numbers of pools from 0"),
        (lambda: Fleet((ONE,), capping=Capping(CapKind.POLCA, 9.0, low_pools=(1,))), "numbers below the 1 pools"),
        (
            lambda: Fleet(
                (replace(ONE, role=Role.PREFILL), replace(ONE, role=Role.DECODE)), capping=Capping(CapKind.TAPAS, 9.0)
            ),
            "tapas with prompts and answers apart",
        ),
        (lambda: replace(ONE, gpus=0), "gpus is 0"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(make, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()
