"""A re-priced point equals its own full replay; whatever changes a duration is replayed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wattlane.core.errors import InputError
from wattlane.core.facts.gpus import gpu
from wattlane.core.facts.models import model
from wattlane.core.types import Deployment
from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.model.laws.phase import Case
from wattlane.model.profile import profile_for
from wattlane.sim.sweep import Point, Step, run_sweep
from wattlane.sim.sweep.points import POWER

N = 60


def workload() -> Workload:
    rng = np.random.default_rng(3)
    return Workload(np.cumsum(rng.exponential(0.5, N)), rng.integers(20, 3000, N), rng.integers(1, 60, N))


def base(name: str = "Llama-3.1-8B", replicas: int = 1) -> Point:
    case = Case(gpu("H100"), model(name), tensor_parallel=1 if name.startswith("Llama") else 4)
    deployment = Deployment(name, "H100", tensor_parallel=case.tensor_parallel, replicas=replicas, max_num_seqs=16)
    return Point("base", deployment, profile_for(case.gpu).law(case), 200_000)


def changed(point: Point, name: str, factors: dict[int, float]) -> Point:
    law = point.law.copy()
    for column, factor in factors.items():
        law[column] *= factor
    return replace(point, name=name, law=law)


def same_history(point: Point) -> list[Point]:
    """Return points that differ in everything a history may be re-priced for."""
    peak = {it.LIMIT_W: 1.5}
    point = changed(point, "base", {it.LIMIT_W: 2.0})
    points = [point, *(changed(point, f"power {column}", {column: 0.9}) for column in POWER)]
    points += [changed(point, "idle", {it.IDLE_W: 1.7}), changed(point, "cap above the peak", peak)]
    points.append(changed(point, "all", dict.fromkeys((*POWER, it.IDLE_W), 0.8)))
    points.append(replace(point, name="parked", park_after_s=0.4, park_w=12.0))
    times = np.array([0.0, 3.0, 9.5])
    points.append(replace(point, name="price", price=Step(times, np.array([1e-8, 5e-8, 2e-8]))))
    points.append(replace(point, name="carbon", park_after_s=0.1, carbon=Step(times, np.array([1e-4, 0.0, 3e-4]))))
    return points


@pytest.mark.parametrize("point", [base(), base("Qwen3-30B-A3B", 2)], ids=["dense", "experts on two replicas"])
def test_repriced_points_equal_full_replays(point: Point) -> None:
    points = same_history(point)
    quick, full = run_sweep(workload(), points), run_sweep(workload(), points, replay_all=True)
    assert quick.repriced == len(points)
    assert full.repriced == 0
    assert str(quick) == f"{len(points)} points: {len(points)} re-priced, 0 replayed"
    for name in quick.table.columns[2:]:
        found, true = (t.table[name].cast(float).fill_null(0.0).to_numpy() for t in (quick, full))
        np.testing.assert_allclose(found, true, rtol=1e-12, err_msg=name)
    joules = full.table["metered_j"].to_list()
    differ = {name: j for name, j in zip(full.table["name"], joules, strict=True) if j != joules[0]}
    assert {"all", "idle", "parked", "power 16"} <= set(differ)  # the sweep does move what it says it moves


def test_what_changes_a_duration_is_replayed() -> None:
    point = changed(base(), "base", {it.LIMIT_W: 2.0})
    slow = [
        changed(point, "kernel", {it.FLOP_PER_S: 0.9}),
        changed(point, "host", {it.HOST_S: 1.1}),
        replace(point, name="batch", deployment=replace(point.deployment, max_num_seqs=4)),
        replace(point, name="window", deployment=replace(point.deployment, release_window_s=0.5)),
        replace(point, name="replicas", deployment=replace(point.deployment, replicas=2)),
        replace(point, name="blocks", kv_capacity_tokens=5_000),
        changed(point, "binding cap", {it.LIMIT_W: 0.25}),
    ]
    found = run_sweep(workload(), [*same_history(base()), *slow])
    assert found.table.filter("repriced").height == len(same_history(base()))
    alone = run_sweep(workload(), slow)
    assert found.table.tail(len(slow)).select("metered_j").equals(alone.table.select("metered_j"))
    free = found.table["ttft_p50_s"][0]
    late = dict(zip(alone.table["name"], alone.table["ttft_p50_s"], strict=True))
    assert all(late[name] != free for name in ("kernel", "host", "window", "binding cap"))


def test_idle_watts_and_prices_are_repriced_where_the_limit_binds() -> None:
    capped = changed(base(), "capped", {it.LIMIT_W: 0.25})
    price = Step(np.array([0.0, 9.5]), np.array([1e-8, 2e-8]))
    points = [
        capped,
        changed(capped, "idle", {it.IDLE_W: 1.7}),
        replace(capped, name="parked", park_after_s=0.4, park_w=12.0, price=price),
        changed(capped, "power", {it.STATIC_W: 0.9}),
        *(changed(capped, f"idle {i}", {it.IDLE_W: 1.0 + 0.1 * i}) for i in range(8)),
    ]
    quick, full = run_sweep(workload(), points), run_sweep(workload(), points, replay_all=True)
    assert quick.repriced == len(points) - 2  # one replay for each set of power coefficients
    assert full.repriced == 0
    for name in quick.table.columns[2:]:
        found, true = (t.table[name].cast(float).fill_null(0.0).to_numpy() for t in (quick, full))
        np.testing.assert_allclose(found, true, rtol=1e-12, err_msg=name)


def test_account_of_a_point_closes() -> None:
    for row in run_sweep(workload(), same_history(base())).table.iter_rows(named=True):
        parts = row["prefill_j"] + row["decode_j"] + row["idle_j"]
        assert parts == pytest.approx(row["metered_j"], rel=1e-9)


def test_constant_price_is_a_price_of_joules() -> None:
    point = replace(base(), price=Step(np.array([0.0]), np.array([3e-8])))
    (row,) = run_sweep(workload(), [point]).table.iter_rows(named=True)
    assert row["cost_usd"] == pytest.approx(3e-8 * row["metered_j"], rel=1e-12)


def test_a_workload_nobody_can_serve_draws_idle_power_only() -> None:
    points = [replace(point, kv_capacity_tokens=16) for point in same_history(base())]
    table = run_sweep(workload(), points).table
    assert table["repriced"].all()
    assert table["slo_attainment"].to_list() == [0.0] * len(points)
    assert table["metered_j"].to_list() == table["idle_j"].to_list()


def test_wrong_points_are_refused() -> None:
    with pytest.raises(InputError, match=r"named twice: \['base'\]"):
        run_sweep(workload(), [base(), base()])
    with pytest.raises(InputError, match="sweep of 0 points"):
        run_sweep(workload(), [])
    with pytest.raises(InputError, match="law of shape"):
        replace(base(), law=np.zeros(3))
    with pytest.raises(InputError, match="parked after -1"):
        replace(base(), park_after_s=-1.0)
    with pytest.raises(InputError, match="times ascending"):
        Step(np.array([1.0, 0.0]), np.ones(2))
