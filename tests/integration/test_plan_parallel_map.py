"""`wattlane plan configure` with pipeline and expert parallelism among its knobs."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from wattlane.plan.configure.certify import certify
from wattlane.plan.configure.explain import explain
from wattlane.plan.configure.files import read
from wattlane.plan.configure.run import configure
from wattlane.plan.configure.solve import solve

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))
from configure_scenes import brute_force

QUESTION = """
name = "split"
seed = 1
workload = { file = "trace.csv" }
demand = { bin_s = 60.0 }
classes = { poolings = ["one"] }
slo = { ttft_s = 2.0, tbt_s = 0.1, attainment = 0.9 }
fleet = [{ gpu = "H100", count = 8 }]
models = [{ name = "Qwen/Qwen3-30B-A3B-Instruct-2507" }]
changes = { start_s = 2.0 }
[knobs]
tensor_parallel = [1, 2]
pipeline_parallel = [1, 2]
expert_parallel = [1, 2]
max_num_seqs = [32]
clock_steps = 1
"""
SPLITS = {(1, 1, 1), (1, 2, 1), (2, 1, 1), (2, 1, 2), (2, 2, 1), (2, 2, 2)}


def write(folder: Path, text: str) -> Path:
    rng = np.random.default_rng(0)
    arrival = np.cumsum(rng.exponential(0.2, 500))
    prompt = rng.lognormal(5.5, 1.0, 500).clip(1, 4000).astype(int)
    rows = {"arrival_s": arrival, "input_tokens": prompt, "output_tokens": prompt // 4 + 1}
    pl.DataFrame(rows).write_csv(folder / "trace.csv")
    file = folder / "question.toml"
    file.write_text(text)
    return file


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("split")
    configure(write(folder, QUESTION), folder / "out")
    return folder / "out"


def test_every_split_the_law_knows_is_in_the_map_at_its_own_gpus(planned: Path) -> None:
    table = read(planned / "plan.json").table
    found = set(table.select("tensor_parallel", "pipeline_parallel", "expert_parallel").iter_rows())
    assert found == SPLITS
    assert (table["gpus"] == table["tensor_parallel"] * table["pipeline_parallel"]).all()
    assert table["shape"].n_unique() == len(SPLITS)
    # at its own capacity an instance of two stages serves more than one of one stage, and less than two of them
    best = table.group_by("tensor_parallel", "pipeline_parallel", "expert_parallel").agg(pl.col("rate_per_s").max())
    rate = {row[:3]: row[3] for row in best.iter_rows()}
    assert rate[1, 1, 1] < rate[1, 2, 1] < 2.0 * rate[1, 1, 1]


def test_the_optimum_over_splits_is_that_of_exhaustive_search(planned: Path) -> None:
    kept = read(planned / "plan.json")
    m, rng = kept.problem.modes, np.random.default_rng(3)
    fastest = int(np.argmax(m.rate_per_s / m.gpus))
    of_shape = [np.flatnonzero(m.shape == s) for s in np.unique(m.shape)]
    for _ in range(4):
        shapes = rng.choice(len(of_shape), 3, replace=False)
        rows = np.unique([fastest, *(int(rng.choice(of_shape[s])) for s in shapes)])
        reduced = replace(kept.problem, modes=m.take(rows))
        assert solve(reduced, gap=0.0).cost.total == pytest.approx(brute_force(reduced), rel=1e-9)


def test_the_plan_certifies_and_says_what_each_split_brings(planned: Path) -> None:
    assert certify(planned / "plan.json").holds
    parts = {part.knob: part.dearer for part in explain(planned / "plan.json").parts}
    assert {"tensor_parallel", "pipeline_parallel", "expert_parallel"} <= set(parts)
    assert all(dearer is None or dearer > -1e-6 for dearer in parts.values())


def test_stages_that_cannot_be_changed_here_stay_and_are_named(tmp_path: Path) -> None:
    text = QUESTION + 'uncontrollable = { pipeline_parallel = "one engine a node", expert_parallel = "as it runs" }\n'
    plan = configure(write(tmp_path, text.replace("tensor_parallel = [1, 2]", "tensor_parallel = [2]")))
    assert {o.deployment.pipeline_parallel for o in plan.setting.options} == {1}
    assert {o.deployment.expert_parallel for o in plan.setting.options} == {1}
    said = "\n".join(plan.lines())
    assert "left alone: pipeline_parallel: one engine a node" in said
    assert "left alone: expert_parallel: as it runs" in said
