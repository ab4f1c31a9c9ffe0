"""Pipeline and expert parallelism as knobs: which combinations stand, what they take, how late a prompt is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from wattlane.core.errors import InputError
from wattlane.core.facts.gpus import gpu
from wattlane.core.facts.models import model
from wattlane.core.types import Deployment
from wattlane.core.workload import Workload
from wattlane.model.laws.phase import Case
from wattlane.model.profile import profile_for
from wattlane.plan.configure import options, slo
from wattlane.plan.configure.explain import _with_parallelism
from wattlane.plan.configure.replaying import Instance, attaining, behind_s, ttft_s
from wattlane.plan.deploy import difference, serve_line

DENSE, EXPERTS = "meta-llama/Llama-3.2-1B", "Qwen/Qwen3-30B-A3B-Instruct-2507"
KNOBS = [
    options.Knob("model", (EXPERTS,), ""),
    options.Knob("tensor_parallel", (1, 2, 4), ""),
    options.Knob("pipeline_parallel", (1, 2), ""),
    options.Knob("expert_parallel", (1, 4), ""),
]


def instance(stages: int = 1, budget: int = 512) -> Instance:
    case = Case(gpu("H100"), model(DENSE), pipeline_parallel=stages)
    d = Deployment(DENSE, "H100", max_num_seqs=8, max_num_batched_tokens=budget, pipeline_parallel=stages)
    return Instance(d, profile_for(case.gpu).law(case), 100_000)


def test_degrees_that_are_no_deployment_are_passed_over_and_each_split_is_a_process() -> None:
    found = options.enumerate_options(0, "H100", KNOBS, 3)
    split = {
        (o.deployment.tensor_parallel, o.deployment.pipeline_parallel, o.deployment.expert_parallel) for o in found
    }
    assert split == {(tp, pp, 1) for tp in (1, 2, 4) for pp in (1, 2)} | {(4, 1, 4), (4, 2, 4)}
    assert all(o.gpus == o.deployment.tensor_parallel * o.deployment.pipeline_parallel for o in found)
    assert len({o.shape for o in found}) == len(found)
    fixed = replace(KNOBS[2], controllable=False, why_not="one node")
    assert {o.deployment.pipeline_parallel for o in options.enumerate_options(0, "H100", [*KNOBS[:2], fixed], 0)} == {1}
    assert options.excluded([fixed]) == ("pipeline_parallel: one node",)


def test_a_deployment_of_another_degree_is_refused() -> None:
    with pytest.raises(InputError, match=r"pipeline_parallel is 0(.|\n)*expert_parallel is 3; expected none, 1 or"):
        Deployment(EXPERTS, "H100", tensor_parallel=2, pipeline_parallel=0, expert_parallel=3)
    assert Deployment(EXPERTS, "H100", tensor_parallel=2, pipeline_parallel=4).gpus == 8


def test_the_serve_line_and_the_difference_name_the_stages() -> None:
    one = Deployment(DENSE, "H100")
    two = replace(one, pipeline_parallel=2)
    assert "--pipeline-parallel-size 2" in serve_line(two)
    assert "pipeline" not in serve_line(one)
    assert difference(one, two) == ["--pipeline-parallel-size: 1 -> 2"]


def test_a_lone_prompt_is_no_sooner_through_a_pipeline() -> None:
    asked = Workload(np.array([0.0, 50.0]), np.array([2000, 100]), np.array([4, 4]))
    alone, staged = (instance(n, budget=4096).replay(asked) for n in (1, 2))
    assert (behind_s(alone, np.array([0, 1])) == 0.0).all()
    late = behind_s(staged, np.array([0, 1]))
    assert late[0] > late[1] > 0.0
    assert (ttft_s(staged) >= ttft_s(alone) * (1 - 1e-12)).all()
    first = float(ttft_s(staged)[0])
    for target, met in ((first * (1 + 1e-9), True), (first * (1 - 1e-9), False)):
        kept = attaining(staged, [slo.ClassSlo(ttft_s=target)], np.zeros(2, np.int64))
        assert kept.tolist() == [met, True]
    whole = slo.isolated(instance(2).law, asked, 2).ttft_s
    assert whole >= slo.isolated(instance(1).law, asked).ttft_s


def test_a_map_written_before_these_knobs_is_still_explained() -> None:
    old = pl.DataFrame({"gpus": [1, 2]})
    found = _with_parallelism(old)
    assert found["tensor_parallel"].to_list() == found["expert_parallel"].to_list() == [1, 2]
    assert found["pipeline_parallel"].to_list() == [1, 1]
    assert _with_parallelism(found) is found
