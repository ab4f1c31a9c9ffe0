"""Trials spread over a Ray cluster: the seam, with a cluster that lives in this process."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace

import pytest
from measure_fake_trial import GRID as CELLS
from measure_fake_trial import FakeRunner

from wattlane.core.errors import MeasurementError, MissingExtraError
from wattlane.core.files import read_parquet
from wattlane.measure import campaign
from wattlane.measure.campaigns import ray_cluster
from wattlane.measure.campaigns.cells import expand
from wattlane.measure.campaigns.grid import parse_grid
from wattlane.measure.campaigns.ray_cluster import OnRay, away, own_meter
from wattlane.measure.campaigns.schedule import Here
from wattlane.measure.campaigns.trials import Trial

GRID = CELLS.replace("at_least = 3", "at_least = 1")


class FakeRay:
    """Ray's few calls, in this process; the task that ends last is the one submitted first."""

    def __init__(self, gpus=2.0):
        self.gpus = gpus
        self.options = {}
        self.submitted = 0

    def init(self, **options):
        self.options["init"] = options

    def cluster_resources(self):
        return {"GPU": self.gpus}

    def remote(self, **options):
        self.options["task"] = options

        def wrap(_function):
            def submit(asked):
                self.submitted += 1
                return (self.submitted, asked)

            return SimpleNamespace(remote=submit)

        return wrap

    def wait(self, references, num_returns):
        return [references[-1]], references[:-1]

    def get(self, reference):
        number, asked = reference
        if number == 2:
            raise RuntimeError("the node went away")
        return away(asked, FakeRunner(lambda _t: 1.0))


def test_trials_spread_over_a_cluster_come_back_with_their_files(tmp_path):
    ray = FakeRay()
    grid = parse_grid("g", GRID)
    result = campaign(grid, tmp_path, scheduler=OnRay(tmp_path, "auto", ray))
    assert ray.options["init"]["address"] == "auto"
    assert ray.options["task"]["num_gpus"] == 1
    assert result.summary["trials"] == {"failed": 1, "measured": 5}
    assert "the node went away" in read_parquet(tmp_path / "campaign.parquet")["reasons"].str.join("").item()
    assert len(list(tmp_path.glob("cells/*/000/measurement.json"))) == 5
    again = FakeRunner()
    assert campaign(grid, tmp_path, scheduler=Here(tmp_path, again)).resumed == 5
    assert len(again.ran) == 1


def test_a_cluster_without_gpus_and_a_missing_ray_are_refused(tmp_path, monkeypatch):
    with pytest.raises(MeasurementError, match="has 0 GPUs"):
        OnRay(tmp_path, "auto", FakeRay(gpus=0))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"wattlane\[ray\]"):
        campaign(parse_grid("g", GRID), tmp_path, ray="auto")


def test_a_worker_meters_the_one_gpu_it_was_given(monkeypatch):
    class Library:
        NVMLError = RuntimeError

    monkeypatch.setattr("wattlane.measure.campaigns.ray_cluster.connect", lambda _library: Library())
    cards = [SimpleNamespace(uuid="GPU-a"), SimpleNamespace(uuid="GPU-b")]
    monkeypatch.setattr("wattlane.measure.campaigns.ray_cluster.cards", lambda _library: cards)
    monkeypatch.setattr("wattlane.measure.campaigns.ray_cluster.NvmlMeter", lambda uuids, _library: uuids)
    for visible, uuid in (("1", "GPU-b"), ("GPU-a", "GPU-a")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert own_meter() == [uuid]
    for visible in ("", "0,1", "7"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        with pytest.raises(MeasurementError, match="expected"):
            own_meter()


def test_an_engine_on_the_cpu_is_not_metered_by_the_gpu_of_its_worker(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(ray_cluster, "own_meter", lambda: "the worker's GPU")
    monkeypatch.setattr(ray_cluster, "measure", lambda trial, _folder, meter: seen.append(meter))
    build = SimpleNamespace(is_cpu_only=False)
    monkeypatch.setattr(ray_cluster, "look_into", lambda _python: build)
    for target, on_cpu in (
        ("xllamacpp:precision=F16", False),
        ("http://127.0.0.1:8000", False),
        ("vllm:model=m", False),
        ("transformers-inprocess:device=cpu", False),
        ("vllm:model=m", True),
    ):
        build.is_cpu_only = on_cpu
        text = f'name = "g"\ntarget = "{target}"\n[workload]\ntext = "burst:n=1"\n'
        [cell] = expand(parse_grid("g", text))
        ray_cluster.measure_on_own_gpu(Trial(cell, 0), tmp_path)
    assert seen == [None, None, "the worker's GPU", None, None]


def test_an_address_where_nothing_listens_is_told_at_once(tmp_path):
    ray = FakeRay()
    began_s = time.monotonic()
    with pytest.raises(MeasurementError, match=r"no Ray cluster answers at '127\.0\.0\.1:1' .*refused"):
        OnRay(tmp_path, "127.0.0.1:1", ray)
    assert time.monotonic() - began_s < 5
    assert "init" not in ray.options


def test_a_cluster_that_does_not_answer_is_told(tmp_path):
    class Gone(FakeRay):
        def init(self, **options):
            raise ConnectionError("refused")

    with pytest.raises(MeasurementError, match=r"no Ray cluster answers at 'auto' \(refused\)"):
        OnRay(tmp_path, "auto", Gone())
