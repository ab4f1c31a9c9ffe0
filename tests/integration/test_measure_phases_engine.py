"""Phases of a real batching server: designed load, CPU seconds at assumed watts, regression, server timings."""

from __future__ import annotations

import sys

import polars as pl
import pytest

from wattlane.core.errors import InputError
from wattlane.core.files import read_json
from wattlane.core.types import Origin
from wattlane.measure.engines.registry import open_engine
from wattlane.measure.phases.design import Shape, design
from wattlane.measure.phases.over_http import DesignRun, drive_design, probe_capacity, split_over_http
from wattlane.measure.phases.regression import fit
from wattlane.measure.warmup import warm_up

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")
pytestmark = [pytest.mark.engine, pytest.mark.slow]

ASSUMED_W = 10.0
SHAPES = (Shape("prompt_heavy", 192, 2), Shape("decode_heavy", 8, 48), Shape("mixed", 96, 24))
LOOSE = 0.3  # windows of a second on a shared machine: the shape of the fit is tested elsewhere


def driven(target: str, window_s: float) -> DesignRun:
    with open_engine(target) as engine:
        warm_up(engine)
        plan = design(probe_capacity(engine), SHAPES, (0.3, 0.6), window_s=window_s, repeats=2)
        with pytest.raises(InputError, match="neither a meter nor cpu_watts"):
            drive_design(engine, plan)
        return drive_design(engine, plan, seed=1, cpu_watts=ASSUMED_W)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("WATTLANE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def test_the_split_of_cpu_time_agrees_with_the_servers_own_timings():
    run = driven("xllamacpp:slots=1,threads=1", window_s=0.7)
    assert run.origin is Origin.MODELLED
    found = fit(run.windows, has_idle=False, misfit_limit=LOOSE, origin=run.origin)
    assert found.identifiability.is_identifiable
    served = pl.concat(run.tables)
    prefill_s, decode_s = served["server_prefill_s"].sum(), served["server_decode_s"].sum()
    prefill_j, lo_j, hi_j = found.energy_j(prefill_tokens=served["input_tokens"].sum())
    decode_j, *_ = found.energy_j(decode_tokens=(served["output_tokens"] - 1).sum())
    share, truth = prefill_j / (prefill_j + decode_j), prefill_s / (prefill_s + decode_s)
    sys.stdout.write(f"prefill share of busy time: {share:.3f} by regression, {truth:.3f} by the server\n{found}\n")
    # What else runs here stretches wall time of both phases alike, so shares are compared; CPU seconds also hold the
    # writing of each token's stream chunk, which the server's decode time does not.
    assert share == pytest.approx(truth, abs=0.15)
    assert lo_j < prefill_j < hi_j
    energy_j = sum(window.energy_j for window in run.windows)
    assert prefill_j + decode_j == pytest.approx(energy_j, rel=0.15)


def test_a_batching_server_is_split_and_its_phases_sum_to_the_whole(tmp_path):
    found = split_over_http(
        "xllamacpp:slots=4,threads=1",
        tmp_path,
        shapes=SHAPES,
        utilisations=(0.3, 0.6),
        window_s=0.6,
        repeats=2,
        cpu_watts=ASSUMED_W,
        misfit_limit=LOOSE,
    )
    body = read_json(tmp_path / "phases.json", "phases")
    if body["has_idle"]:
        pytest.skip("this machine has a sensor for its CPU")
    assert body["refused"] is None
    assert (body["fit"]["status"], body["boundary"]) == ("modelled", "cpu package")
    assert len(body["windows"]) == found.windows == 12
    prefill, decode, whole_j = (
        sum(window[name] for window in body["windows"]) for name in ("prefill_tokens", "decode_tokens", "energy_j")
    )
    energy_j, *_ = found.energy_j(prefill, decode)
    assert energy_j == pytest.approx(whole_j, rel=0.15)
    assert found.coefficients["decode"].mean > found.coefficients["prefill"].mean > 0
