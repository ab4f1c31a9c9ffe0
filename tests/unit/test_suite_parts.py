"""The parts of a suite: loads, tuning, figures over seeds, and the table of controllers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wattlane.core.errors import InfeasibleError
from wattlane.core.workload import Workload
from wattlane.study.suite.cells import Worth
from wattlane.study.suite.config import Extent
from wattlane.study.suite.controllers import ABLATION, CONTROLLERS, DEFAULT, LOWEST, OURS, UNPRIVILEGED
from wattlane.study.suite.figures import losses, percentiles, rows_of, saved, spread, without_tail
from wattlane.study.suite.loads import TOLERANCE, account_end_s, at_rate, full_load, thinned
from wattlane.study.suite.tune import MARGIN, allowed, tune

ROOT = Path(__file__).parents[2]
SMALL = {"max_num_batched_tokens": 512.0, "max_num_seqs": 64.0}
LARGE = {"max_num_batched_tokens": 2048.0, "max_num_seqs": 64.0}


def work(n: int = 2000, rate_rps: float = 2.0) -> Workload:
    gaps_s = np.random.default_rng(3).exponential(1.0 / rate_rps, n)
    return Workload(np.cumsum(gaps_s), np.full(n, 100), np.full(n, 10))


def test_the_shipped_scenario_is_the_one_of_the_examples() -> None:
    shipped = ROOT / "src" / "wattlane" / "study" / "suite" / "azure-conv.toml"
    assert shipped.read_bytes() == (ROOT / "examples" / "azure-conv.toml").read_bytes()


def test_the_full_suite_sweeps_10_to_110_percent_over_five_seeds() -> None:
    extent = Extent()
    assert extent.loads == tuple(k / 10 for k in range(1, 12))
    assert extent.seeds >= 5
    # a load between two that are tuned takes the limits of the higher one
    assert [extent.tuned_load(load) for load in (0.1, 0.2, 0.3, 0.7, 1.0, 1.2)] == [0.3, 0.3, 0.3, 0.9, 1.1, 1.2]


def test_every_controller_has_a_name_of_its_own_a_source_and_a_claim_or_none() -> None:
    names = [one.name for one in CONTROLLERS]
    assert len(set(names)) == len(names)
    assert {DEFAULT, LOWEST, OURS, UNPRIVILEGED, *(name for name, _ in ABLATION)} <= set(names)
    for one in CONTROLLERS:
        assert one.source
        assert one.rule
        assert one.claim
    by_name = {one.name: one for one in CONTROLLERS}
    assert by_name[DEFAULT].privileges == ""
    assert "clocks" not in by_name[UNPRIVILEGED].privileges
    assert len(CONTROLLERS) >= 10


def test_a_load_keeps_the_requests_and_the_shape_and_sets_the_rate() -> None:
    given = work()
    found = at_rate(given, 7.0)
    assert found.rate_rps == pytest.approx(7.0)
    np.testing.assert_array_equal(found.input_tokens, given.input_tokens)
    np.testing.assert_allclose(np.diff(found.arrival_s), np.diff(given.arrival_s) * given.rate_rps / 7.0, atol=1e-9)


def test_thinning_keeps_a_part_in_its_place_and_the_span() -> None:
    given = work(20_000, 5.0)
    found = thinned(given, 3.0, seed=1)
    assert found.span_s == given.span_s
    assert np.isin(found.arrival_s, given.arrival_s).all()
    assert found.rate_rps == pytest.approx(3.0, rel=0.03)
    np.testing.assert_array_equal(found.arrival_s, thinned(given, 3.0, seed=1).arrival_s)


def test_the_account_has_a_quarter_more_than_the_arrivals() -> None:
    given = work()
    assert account_end_s(given) == pytest.approx(given.arrival_s[0] + 1.25 * given.span_s)


@pytest.mark.parametrize("limit", [0.3, 5.0, 77.0])
def test_full_load_is_kept_and_a_percent_more_is_missed(limit: float) -> None:
    most = {512.0: 0.5 * limit, 2048.0: limit}

    def attained(rate_rps: float, knobs: Any) -> float:
        return 0.995 if rate_rps <= most[knobs["max_num_batched_tokens"]] else 0.9

    found = full_load([SMALL, LARGE], attained, 0.99, start_rps=4.0)
    assert found.knobs == LARGE
    assert found.rate_rps <= limit < found.missed_rps <= found.rate_rps * (1 + TOLERANCE) ** 2
    assert (found.attainment, found.missed_attainment) == (0.995, 0.9)
    # the better limits first: the others are no reason to go down
    assert full_load([LARGE, SMALL], attained, 0.99, start_rps=4.0).knobs == LARGE


def test_no_full_load_where_nothing_attains() -> None:
    with pytest.raises(InfeasibleError, match=r"no batch limits keep 99\.00%"):
        full_load([SMALL], lambda _rate, _knobs: 0.5, 0.99, 1.0)


VALUES = {
    "max_num_batched_tokens": (512.0, 1024.0, 2048.0),
    "max_num_seqs": (64.0, 256.0, 1024.0),
    "margin": (0.9, 0.5),
}


def test_tuning_finds_the_least_joules_that_keep_the_target_with_its_margin() -> None:
    asked = []

    def worth(at: Any) -> Worth:
        asked.append(dict(at))
        joules = 1.0 + 1000.0 / at["max_num_batched_tokens"] + at["max_num_seqs"] / 1000.0 + at["margin"]
        # the largest budget is cheapest, and misses; the next one attains, but not with the margin
        kept = {512.0: 1.0, 1024.0: 0.99 + MARGIN, 2048.0: 0.99}[at["max_num_batched_tokens"]]
        return Worth(joules, kept)

    start = {"max_num_batched_tokens": 512.0, "max_num_seqs": 256.0, "margin": 0.9}
    found = tune(start, VALUES, worth, 0.99)
    assert found.knobs == {"max_num_batched_tokens": 1024.0, "max_num_seqs": 64.0, "margin": 0.5}
    assert found.worth == worth(found.knobs)
    assert all(allowed(at) for at in asked)
    assert found.tried == len({tuple(at.values()) for at in asked})
    # who leaves more to the target takes a smaller budget
    assert tune(start, VALUES, worth, 0.99, 2 * MARGIN).knobs["max_num_batched_tokens"] == 512.0


def test_tuning_takes_the_best_attainment_where_nothing_keeps_the_target() -> None:
    found = tune(
        {**LARGE, "margin": 1.0}, VALUES | {"margin": (1.0,)}, lambda at: Worth(1.0, at["max_num_seqs"] / 2000.0), 0.99
    )
    assert found.knobs["max_num_seqs"] == 1024.0
    assert found.knobs["max_num_batched_tokens"] >= 1024.0


def cell(
    controller: str, seed: int, joules: float | None, attainment: float = 1.0, load: float = 0.6
) -> dict[str, Any]:
    good = 1000
    numbers = dict.fromkeys(("ttft_p50_s", "ttft_p99_s", "tbt_p50_s", "tbt_p99_s", "mean_power_w", "busy_share"), 0.5)
    energy_j = 500.0 if joules is None else joules * good
    parts = {"prefill_j": 0.25, "decode_j": 0.25, "idle_j": 0.5, "reconfiguration_j": 0.125, "tail_j": 0.25}
    return {
        "traffic": "t",
        "load": load,
        "controller": controller,
        "seed": seed,
        "energy_j": energy_j,
        "good_tokens": 0 if joules is None else good,
        "energy_j_per_good_token": joules,
        "energy_j_per_request": energy_j,
        "attainment": attainment,
        "refused": 0,
        **numbers,
        **{name: share * energy_j for name, share in parts.items()},
    }


def test_savings_are_paired_by_seed_and_who_misses_is_not_ranked() -> None:
    cells = [cell(DEFAULT, k, joules) for k, joules in enumerate((1.0, 2.0, 4.0))]
    cells += [cell("half", k, joules / 2) for k, joules in enumerate((1.0, 2.0, 4.0))]
    cells += [cell("misses", k, 0.1, (0.9, 0.95, 1.0)[k]) for k in range(3)]
    cells += [cell("nothing", k, None, 0.0) for k in range(3)]
    rows = rows_of(cells, DEFAULT, 0.99)
    assert [(row["controller"], row["rank"]) for row in rows] == [
        ("half", 1),
        (DEFAULT, 2),
        ("misses", None),
        ("nothing", None),
    ]
    assert rows[0]["saving"] == {"median": 0.5, "lo": 0.5, "hi": 0.5}
    assert rows[1]["energy_j_per_good_token"] == {"median": 2.0, "lo": 1.0, "hi": 4.0}
    assert rows[3]["saving"] is None
    shares = rows[0]["shares"]
    assert shares["prefill"] + shares["decode"] + shares["idle"] == pytest.approx(1.0)


def test_every_loss_is_listed_and_nothing_else() -> None:
    cells = [cell(DEFAULT, k, 1.0) for k in range(2)] + [cell("better", k, 0.9) for k in range(2)]
    cells += [cell("dearer", k, (0.9, 1.1)[k]) for k in range(2)]
    cells += [cell("late", k, 0.5, (0.98, 1.0)[k]) for k in range(2)]
    found = losses(cells, DEFAULT, 0.99)
    assert [row["controller"] for row in found] == ["dearer", "late"]
    assert (found[0]["dearer"], found[0]["missed"]) == (1, 0)
    assert found[0]["worst_saving"] == pytest.approx(-0.1)
    assert (found[1]["dearer"], found[1]["missed"], found[1]["least_attainment"]) == (0, 1, 0.98)


def test_absent_values_stay_absent() -> None:
    assert spread([]) is None
    assert spread([1.0, None]) is None
    assert saved(None, 1.0) is None
    assert saved(1.0, 0.0) is None
    assert without_tail(cell("none", 0, None)) is None
    assert percentiles([0.1, None]) is None
    assert percentiles([]) is None
    assert percentiles([0.0, 0.5, 1.0]) == {"p10": pytest.approx(0.1), "p50": 0.5, "p90": pytest.approx(0.9)}
