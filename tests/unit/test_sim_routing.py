"""What routing does to a fleet: who is left empty, who is woken, and what it is refused without."""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
import pytest
from test_sim_fleet import flat_law

from wattlane.core.errors import InputError
from wattlane.core.types import Slo
from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.sim import account, paged
from wattlane.sim.fleet_types import EngineSettings, Fleet, Pool, RestState, Routing, Tags

pytestmark = [] if numba.config.DISABLE_JIT else [pytest.mark.slow]
SLO = Slo(ttft_s=1.0, tbt_s=0.1)


def stream(n: int = 40, every_s: float = 0.1, prompt: int = 20, output: int = 30) -> Workload:
    return Workload(np.arange(n) * every_s, np.full(n, prompt), np.full(n, output))


def pool(replicas: int = 4, **changes) -> Pool:
    row = flat_law(0.02)
    row[it.SEQ_S] = 0.002
    return replace(Pool(row, 100_000, replicas=replicas, max_num_seqs=64, max_num_batched_tokens=512), **changes)


def served(run: paged.FleetRun) -> np.ndarray:
    return np.bincount(run.replica, minlength=len(run.replicas))


def replay(routing: Routing, work: Workload | None = None, own: Pool | None = None, **fleet) -> paged.FleetRun:
    return paged.replay(work or stream(), Fleet((own or pool(),), routing=routing, slo=SLO, **fleet))


@pytest.mark.parametrize("routing", [Routing.MOST_LOADED, Routing.WATTLANE])
def test_consolidating_leaves_the_other_replicas_empty_and_costs_less(routing: Routing) -> None:
    spread, full = replay(Routing.ROUND_ROBIN), replay(routing)
    assert served(full).tolist() == [40, 0, 0, 0]
    assert served(spread).tolist() == [10, 10, 10, 10]
    assert account.ledger(full).metered_j < account.ledger(spread).metered_j
    assert account.attainment(full, SLO) == account.attainment(spread, SLO) == 1.0


def test_a_full_replica_sends_the_next_request_to_another() -> None:
    """0.02 + 0.002 a sequence: more than 40 sequences miss a gap of 0.1 s; with a margin of 0.5, more than 15."""
    crowd = stream(60, 0.001)
    assert served(replay(Routing.MOST_LOADED, crowd)).tolist() == [40, 20, 0, 0]
    assert served(replay(Routing.WATTLANE, crowd, routing_margin=0.5)).max() <= 15


def test_a_replica_at_rest_is_woken_only_when_no_awake_one_fits() -> None:
    rests = (RestState("asleep", 0.5, 5.0, exit_s=0.1, exit_j=50.0),)
    early = Workload(np.array([0.0, 0.001, 5.0, 5.001]), np.full(4, 20), np.full(4, 30))
    run = replay(Routing.WATTLANE, early, pool(2, rests=rests))
    assert run.replica.tolist() == [0, 0, 0, 0]
    crowd = Workload(np.concatenate([[0.0], 5.0 + np.arange(45) * 1e-3]), np.full(46, 20), np.full(46, 30))
    assert served(replay(Routing.WATTLANE, crowd, pool(2, rests=rests), routing_margin=1.0)).tolist() == [41, 5]


def test_least_energy_prefers_the_cheaper_kind() -> None:
    dear = pool(1, name="dear")
    dear.laws[:, it.STATIC_W] *= 2
    run = paged.replay(stream(6, 2.0), Fleet((dear, pool(1, name="cheap")), routing=Routing.LEAST_ENERGY, slo=SLO))
    assert served(run).tolist() == [0, 6]


def test_prompts_go_where_their_beginning_is_resident() -> None:
    work = Workload(np.arange(8) * 1.0, np.full(8, 40), np.full(8, 5))
    names = np.concatenate([[100 * (i % 2) + j for j in range(2)] for i in range(8)])
    tags = Tags(prefix_at=np.arange(9) * 2, prefix_ids=names)
    own = pool(2, settings=EngineSettings(prefix_cache=True))
    aware, robin = (
        paged.replay(work, Fleet((own,), routing=kind), tags) for kind in (Routing.PREFIX_AWARE, Routing.ROUND_ROBIN)
    )
    assert aware.cached_tokens.sum() >= robin.cached_tokens.sum()
    shifted = replace(tags, prefix_ids=np.concatenate([[100 * (i // 2 % 2) + j for j in range(2)] for i in range(8)]))
    found = paged.replay(work, Fleet((own,), routing=Routing.PREFIX_AWARE), shifted)
    assert found.cached_tokens.tolist() == [0, 32, 0, 32, 32, 32, 32, 32]


def test_targets_and_settings_of_routing_are_checked() -> None:
    for routing in (Routing.MOST_LOADED, Routing.LEAST_ENERGY, Routing.WATTLANE):
        with pytest.raises(InputError, match=f"routing is {routing.value} without slo"):
            Fleet((pool(),), routing=routing)
    with pytest.raises(InputError, match=r"routing_margin is 0(.|\n)*routing_balance is -1"):
        Fleet((pool(),), routing_margin=0.0, routing_balance=-1)
