"""Classes, targets, knobs, the deal of requests to instances, fronts: the parts of a configuration plan."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattlane.core.errors import InputError
from wattlane.core.facts.config import resolve_model
from wattlane.core.facts.gpus import gpu
from wattlane.core.types import Deployment
from wattlane.core.workload import Workload
from wattlane.model.laws.phase import Case
from wattlane.model.profile import profile_for
from wattlane.plan.configure import classes, demand, options, pareto, slo, verify
from wattlane.plan.configure.config import read
from wattlane.plan.configure.replaying import Instance, attaining, keeps
from wattlane.workload import shape

MODEL = "meta-llama/Llama-3.2-1B"


@pytest.fixture(scope="module")
def conversation() -> Workload:
    return shape("azure-conv").sample(0)


def test_s1_every_class_has_requests_and_every_request_one_class(conversation: Workload) -> None:
    bounds = classes.percentile_bounds(conversation)
    found = classes.classify(conversation, bounds)
    assert set(found.tolist()) == set(range(9))
    assert bounds.input_tokens[0] < bounds.input_tokens[1]
    assert bounds.output_tokens[0] < bounds.output_tokens[1]
    short = conversation.input_tokens <= bounds.input_tokens[0]
    assert (found[short] < 3).all()
    assert (found[~short] >= 3).all()
    assert np.mean(found < 3) == pytest.approx(0.33, abs=0.01)


def test_s1_a_length_equal_to_a_bound_belongs_to_the_shorter_class() -> None:
    bounds = classes.Bounds((10, 20), (5, 9))
    lengths = [(10, 5), (11, 6), (20, 9), (21, 10)]
    asked = Workload(np.arange(4.0), *(np.array(column) for column in zip(*lengths, strict=True)))
    assert [classes.NAMES[c] for c in classes.classify(asked, bounds)] == ["SS", "MM", "MM", "LL"]


def test_s1_bounds_that_make_no_three_classes_are_refused() -> None:
    with pytest.raises(InputError, match=r"input_tokens is \[20, 10\](.|\n)*output_tokens is \[0, 5\]"):
        classes.Bounds((20, 10), (0, 5))
    equal = Workload(np.arange(9.0), np.full(9, 7), np.arange(1, 10))
    with pytest.raises(InputError, match="three different values"):
        classes.percentile_bounds(equal)


def test_s1_the_preset_says_that_nobody_checked_it() -> None:
    assert "unverified" in classes.DYNAMOLLM_UNVERIFIED.source
    assert classes.DYNAMOLLM_UNVERIFIED.input_tokens == (256, 1024)


def test_poolings_put_each_class_in_one_pool() -> None:
    for name in classes.POOLINGS:
        parts = "+".join(classes.pool_names(name)).split("+")
        assert sorted(parts) == sorted(classes.NAMES)
    assert classes.pool_names("by-output")[0] == "SS+MS+LS"


def instance(**changes: object) -> Instance:
    case = Case(gpu("H100"), resolve_model(MODEL))
    fields: dict[str, object] = {"max_num_seqs": 8, "max_num_batched_tokens": 512}
    return Instance(Deployment(MODEL, "H100", **fields | changes), profile_for(case.gpu).law(case), 100_000)  # type: ignore[arg-type]


def test_s2_a_request_that_just_meets_its_targets_attains() -> None:
    asked = Workload(np.array([0.0, 5.0]), np.array([100, 100]), np.array([10, 10]))
    run = instance().replay(asked)
    (r,) = run.replicas
    ends = r.record[r.first[0] : r.first[0] + 10, 1]
    first_s, gap_s, end_s = (float(value) * (1 + 1e-10) for value in (ends[0], np.diff(ends).max(), ends[-1]))
    exact = slo.ClassSlo(first_s, gap_s, end_s, 1.0)  # a part in 1e10 above: seconds of a later start are rounded
    kind = np.array([0, 1])
    assert attaining(run, [exact, exact], kind).all()
    for name in ("ttft_s", "tbt_s", "e2e_s"):
        below = {name: getattr(exact, name) * (1 - 1e-9)}
        if name == "e2e_s":
            below["ttft_s"] = math.inf
            below["ttft_s"] = below["e2e_s"]
        assert attaining(run, [replace(exact, **below), exact], kind).tolist() == [False, True]


def test_s2_targets_may_be_multiples_of_the_latency_alone() -> None:
    asked = Workload(np.zeros(100), np.arange(1, 101), np.full(100, 50))
    alone = slo.isolated(instance().law, asked)
    assert slo.times(5.0, alone, 0.99).ttft_s == pytest.approx(5 * alone.ttft_s)
    run = instance(max_num_batched_tokens=4096).replay(Workload(np.zeros(1), np.array([99]), np.array([50])))
    (r,) = run.replicas
    assert alone.ttft_s == pytest.approx(r.record[0, 1], rel=0.02)
    # the law is asked at full context, so a request alone is a little faster
    assert 0.9 * alone.e2e_s < r.record[-1, 1] <= alone.e2e_s


def test_s2_wrong_targets_are_refused_together() -> None:
    with pytest.raises(InputError, match=r"ttft_s is -1(.|\n)*attainment is 2"):
        slo.ClassSlo(ttft_s=-1.0, attainment=2.0)
    with pytest.raises(InputError, match="first token comes before the last"):
        slo.ClassSlo(ttft_s=3.0, e2e_s=2.0)


def test_a_share_is_kept_to_a_whole_request() -> None:
    met = np.ones(150, bool)
    kind = np.zeros(150, np.int64)
    targets = [slo.ClassSlo(ttft_s=1.0, attainment=0.99)]
    for misses, kept in ((0, True), (2, True), (3, False)):
        met[:misses] = False
        assert keeps(met, targets, kind) is kept


KNOBS = [
    options.Knob("model", (MODEL,), ""),
    options.Knob("tensor_parallel", (1, 2), ""),
    options.Knob("max_num_seqs", (8, 64), ""),
    options.Knob("max_num_batched_tokens", (32, 512), ""),
    options.Knob("clock_hz", (None, 1.2e9), ""),
]


def test_s3_a_knob_that_cannot_be_turned_stays_and_is_named() -> None:
    fixed = replace(KNOBS[4], controllable=False, why_not="no root on these nodes")
    found = options.enumerate_options(0, "H100", [*KNOBS[:4], fixed], 0)
    assert {o.deployment.clock_hz for o in found} == {None}
    assert options.excluded([fixed]) == ("clock_hz: no root on these nodes",)
    free = options.enumerate_options(0, "H100", KNOBS, 0)
    assert {o.deployment.clock_hz for o in free} == {None, 1.2e9}


def test_s3_settings_that_need_a_restart_make_a_shape() -> None:
    found = options.enumerate_options(3, "H100", KNOBS, 7)
    assert {o.shape for o in found} == {7, 8, 9, 10}
    assert len(found) == 12  # 64 sequences do not fit a budget of 32 tokens
    by_shape = {(o.deployment.tensor_parallel, o.deployment.max_num_batched_tokens): o.shape for o in found}
    assert len(set(by_shape.values())) == 4
    assert {o.fleet for o in found} == {3}


def test_s3_wrong_knobs_are_refused_together() -> None:
    wrong = [options.Knob("speed", (), ""), KNOBS[1], KNOBS[1]]
    with pytest.raises(InputError, match=r"given twice(.|\n)*unknown knob 'speed'(.|\n)*no values"):
        options.enumerate_options(0, "H100", wrong, 0)


@given(weights=st.lists(st.floats(0.1, 10.0), min_size=1, max_size=6), count=st.integers(0, 200))
def test_requests_are_dealt_in_proportion(weights: list[float], count: int) -> None:
    owner = verify.spread(np.array(weights), count)
    assert len(owner) == count
    share = np.array(weights) / sum(weights)
    dealt = np.bincount(owner, minlength=len(weights))
    assert (np.abs(dealt - share * count) <= len(weights)).all()


def test_s10_the_front_holds_no_dominated_point() -> None:
    rng = np.random.default_rng(0)
    n = 200
    table = pl.DataFrame(
        {
            "pool": ["a"] * n,
            "gpus": rng.integers(1, 5, n),
            "rate_per_s": rng.uniform(1, 9, n),
            "power_w": rng.uniform(200, 900, n),
            "ttft_p99_s": rng.uniform(0.1, 1, n).round(1),
            "tbt_p99_s": rng.uniform(0.01, 0.1, n).round(2),
        }
    )
    front = pareto.front(pl.concat([table, table]), "a").select(pareto.AXES).to_numpy()
    every = pareto.with_axes(table).select(pareto.AXES).to_numpy()
    assert 0 < len(front) < n
    for point in front:
        assert not any((q <= point).all() and (q < point).any() for q in every)
    for q in every:
        assert any((point <= q).all() for point in front)
    with pytest.raises(InputError, match="'b' is not in the map; found a"):
        pareto.front(table, "b")


def test_demand_counts_every_request_of_its_bins(conversation: Workload) -> None:
    fast = demand.sped_up(conversation, 2.0)
    assert fast.span_s == pytest.approx(conversation.span_s / 2)
    pool = np.arange(len(fast)) % 3
    found = demand.rates(fast, pool, 3, 300.0)
    assert found.sum() * 300.0 == pytest.approx(len(fast))
    assert demand.rates(fast, pool, 3, 300.0, bins=2).shape == (2, 3)


def test_a_wrong_question_is_refused_with_every_fault(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(
        'name = "x"\nworkload = {}\nslo = {isolated_factor = 5.0, ttft_s = 1.0, classes = {XX = {}}}\n'
        'fleet = [{gpu = "H100", count = -1}]\nmodels = [{name = "m", speed = 3}]\n'
        '[classes]\nbounds = "thirds"\npoolings = ["two"]\ninput_tokens = [1]\n[objective]\nleast = "noise"\n'
    )
    with pytest.raises(InputError) as caught:
        read(file)
    for words in (
        "exactly one of shape", "one or the other", "classes holds XX", "count is -1", "'models.0.speed'",
        "bounds is 'thirds'", "poolings is ['two']", "least is 'noise'",
    ):  # fmt: skip
        assert words in str(caught.value)
    file.write_text("name = ")
    with pytest.raises(InputError, match="not valid TOML"):
        read(file)
    file.write_text(
        'name="x"\nslo={}\nworkload={shape="azure-conv"}\nfleet=[{gpu="H100",count=1}]\nmodels=[{name="m"}]'
    )
    with pytest.raises(InputError, match="no target is given"):
        read(file)
