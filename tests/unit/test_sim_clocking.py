"""Clock policies in a fleet: outcomes that can be written down by hand, published directions, what is refused."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numba
import numpy as np
import pytest
from test_sim_fleet import flat_law, workload

from fleet_scenes import fleet_scene
from wattlane.core.errors import InputError
from wattlane.core.facts.gpus import gpu
from wattlane.core.facts.models import model
from wattlane.core.types import Slo
from wattlane.core.workload import Workload
from wattlane.model.laws.phase import Case
from wattlane.model.profile import profile_for
from wattlane.sim import account, paged, stamps
from wattlane.sim.clocking import Clocking, ClockKind
from wattlane.sim.engine import layout as lay
from wattlane.sim.fleet_types import Fleet, Pool

# compiling the engine takes longer than the inner loop of a change may; uncompiled it is covered by every check
pytestmark = [] if numba.config.DISABLE_JIT else [pytest.mark.slow]
# joules 160, 120, 140 an iteration; beyond 10 W at rest 120, 100, 130
LAWS = np.stack([flat_law(4.0, 40.0), flat_law(2.0, 60.0), flat_law(1.0, 140.0)])
ONE = Pool(LAWS, 1000, max_num_seqs=2, max_num_batched_tokens=10)
EXACT = {"margin": 1.0, "z": 0.0, "memory_s": 0.0}
ONLINE = [kind for kind in ClockKind if kind is not ClockKind.FIXED]


def ends(kind: ClockKind, slo: Slo, *rows: tuple[float, int, int], pool: Pool = ONE, **changes) -> list[list[float]]:
    rule = Clocking(kind, **{**EXACT, **changes})
    found = paged.replay(workload(*rows), Fleet((replace(pool, clocking=rule),), slo=slo))
    at, stamps_s = stamps.token_times(found)
    return [stamps_s[a:b].tolist() for a, b in itertools.pairwise(at)]


@pytest.mark.parametrize(
    ("slo", "tokens"),
    [
        (Slo(10.0, 4.0), [4.0, 8.0, 12.0]),
        (Slo(10.0, 3.0), [4.0, 6.0, 8.0]),
        (Slo(3.0, 4.0), [2.0, 6.0, 10.0]),
        (Slo(0.5, 0.5), [1.0, 2.0, 3.0]),
    ],
)
def test_lowest_feasible_walks_up_to_the_first_clock_that_keeps_the_targets(slo: Slo, tokens: list[float]) -> None:
    assert ends(ClockKind.LOWEST_FEASIBLE, slo, (0.0, 4, 3)) == [tokens]


def test_lowest_feasible_runs_at_the_maximum_while_somebody_cannot_come_in() -> None:
    found = ends(
        ClockKind.LOWEST_FEASIBLE,
        Slo(10.0, 4.0),
        (0.0, 4, 3),
        (0.0, 4, 3),
        pool=replace(ONE, max_num_seqs=1, max_num_batched_tokens=4),
    )
    assert found == [[4.0, 5.0, 6.0], [10.0, 14.0, 18.0]]


def test_energy_minimum_takes_the_bottom_of_the_curve_and_what_the_targets_ask_for() -> None:
    assert ends(ClockKind.ENERGY_MINIMUM, Slo(10.0, 9.0), (0.0, 4, 3)) == [[2.0, 4.0, 6.0]]
    assert ends(ClockKind.ENERGY_MINIMUM, Slo(10.0, 1.5), (0.0, 4, 3)) == [[2.0, 3.0, 4.0]]
    # a time that errs by a half at one standard deviation must be a third below the target
    assert ends(ClockKind.ENERGY_MINIMUM, Slo(10.0, 2.5), (0.0, 4, 3), z=1.0, relative_error=0.5) == [[2.0, 3.0, 4.0]]


def test_under_load_time_is_worth_an_empty_iteration_and_the_clock_falls() -> None:
    """An empty iteration draws 40 W at least: 160 - 4·40 = 0 is less than 120 - 2·40."""
    found = ends(ClockKind.ENERGY_MINIMUM, Slo(90.0, 90.0), *[(0.0, 1, 6)] * 10, memory_s=1.0, pool=BIG)
    assert np.diff(found[0]).tolist() == [2.0, 4.0, 4.0, 4.0, 4.0]  # the first decodes before anybody has been seen


BIG = replace(ONE, max_num_seqs=10)


def test_a_policy_waits_for_the_change_it_asked_for() -> None:
    slow = replace(ONE, switch_s=0.5)
    assert ends(ClockKind.LOWEST_FEASIBLE, Slo(10.0, 4.0), (0.0, 4, 3), pool=slow) == [[1.0, 5.0, 9.0]]
    slower = replace(ONE, switch_s=1.5)
    # asked for at 0, there at 1.5: two iterations at the highest clock, of which one begins before
    assert ends(ClockKind.LOWEST_FEASIBLE, Slo(10.0, 4.0), (0.0, 4, 4), pool=slower) == [[1.0, 2.0, 6.0, 10.0]]


def test_miad_falls_step_by_step_and_rises_by_a_factor() -> None:
    calm = ends(ClockKind.MIAD, Slo(20.0, 9.0), (0.0, 4, 4), period_s=1.0)
    assert calm == [[1.0, 3.0, 7.0, 11.0]]
    pressed = ends(ClockKind.MIAD, Slo(20.0, 1.5), (0.0, 4, 6), period_s=1.0, increase=3.0)
    # level 2 makes gaps of 2 s, which are too long: three times that, less a step once gaps are short again
    assert pressed == [[1.0, 3.0, 4.0, 6.0, 7.0, 9.0]]


def test_green_prices_prompts_and_lowers_the_decode_clock_while_gaps_are_short() -> None:
    found = ends(ClockKind.GREEN, Slo(10.0, 4.0), (0.0, 4, 5), period_s=1.0)
    # prompt at its bottom, 2 s; then from the highest down a step a period; 4 s is near the target, and stays
    assert found == [[2.0, 3.0, 5.0, 9.0, 13.0]]
    late = ends(ClockKind.GREEN, Slo(10.0, 1.5), (0.0, 4, 5), period_s=1.0)
    assert late == [[2.0, 3.0, 5.0, 6.0, 8.0]]


def busy(share: float) -> Workload:
    rng = np.random.default_rng(3)
    n = 24
    return Workload(np.cumsum(rng.exponential(0.4 / share, n)), rng.integers(100, 900, n), rng.integers(8, 24, n))


def real() -> Pool:
    board = gpu("H100")
    case = Case(board, model("Llama-3.1-8B-Instruct"))
    clocks_hz = np.linspace(board.clock_min_hz, board.clock_max_hz, 6)[1:]
    laws = np.stack([profile_for(board).law(replace(case, clock_hz=float(hz))) for hz in clocks_hz])
    return Pool(laws, 100_000, max_num_seqs=256, max_num_batched_tokens=2048)


def joules_a_request(work: Workload, rule: Clocking, slo: Slo) -> tuple[float, float]:
    found = paged.replay(work, Fleet((replace(real(), clocking=rule),), slo=slo))
    book = account.ledger(found)
    assert book.balanced(1e-9)
    return book.metered_j / len(work), account.attainment(found, slo)


@pytest.mark.parametrize("kind", ONLINE)
def test_every_policy_saves_energy_and_keeps_easy_targets(kind: ClockKind) -> None:
    """The direction that each paper publishes, on a replica that is busy now and then."""
    slo, work = Slo(2.0, 0.2), busy(1.0)
    base_j, _ = joules_a_request(work, Clocking(), slo)
    found_j, attained = joules_a_request(work, Clocking(kind), slo)
    assert found_j < base_j
    assert attained >= 0.95


def test_at_little_load_the_lowest_clock_is_not_the_cheapest() -> None:
    """The loss case of lowest-feasible: what it saves in watts it pays in seconds that could have been rest."""
    slo, work = Slo(2.0, 0.2), busy(0.1)
    base_j, _ = joules_a_request(work, Clocking(), slo)
    lowest_j, _ = joules_a_request(work, Clocking(ClockKind.LOWEST_FEASIBLE), slo)
    least_j, attained = joules_a_request(work, Clocking(ClockKind.ENERGY_MINIMUM), slo)
    assert least_j < min(lowest_j, base_j)
    assert attained == 1.0


@pytest.mark.parametrize("kind", ClockKind)
def test_gaps_grow_with_the_prompt_that_joins(kind: ClockKind) -> None:
    gaps = []
    for tokens in (100, 800, 1900):
        work = Workload(np.array([0.0, 0.1]), np.array([50, tokens]), np.array([60, 2]))
        found = paged.replay(work, Fleet((replace(real(), clocking=Clocking(kind)),), slo=Slo(5.0, 1.0)))
        at, stamps_s = stamps.token_times(found)
        gaps.append(float(np.diff(stamps_s[: at[1]]).max()))
    assert gaps[0] < gaps[1] < gaps[2]


def test_a_shorter_grid_beside_a_longer_one_keeps_to_itself() -> None:
    """Grids are padded to equal length in the arrays; nobody may run at a clock that its pool does not have."""
    for seed in range(40):
        s = fleet_scene(seed)
        for r in paged.replay(s.workload, s.fleet, s.tags).replicas:
            assert r.record[:, lay.AT_CLOCK].max(initial=0) < len(r.pool.laws)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Clocking(margin=0.0, increase=1.0), "margin is 0.0"),
        (lambda: Clocking(margin=0.0, increase=1.0), "increase is 1.0"),
        (lambda: Clocking(period_s=0.0), "period_s is 0.0"),
        (lambda: Clocking(z=-1.0), "z is -1.0"),
        (lambda: Clocking(slow_periods=0), "slow_periods is 0"),
        (lambda: Fleet((replace(ONE, clocking=Clocking(ClockKind.MIAD)),)), "miad clocks and the fleet no slo"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(make, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()
