"""Shapes: a sample is like its trace, has exactly its requests, and depends on nothing but the seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wattlane.core.errors import FileFormatError, InputError, UnknownNameError
from wattlane.core.files import write_json
from wattlane.core.workload import Workload
from wattlane.workload import cascade, describe, load, make_shape, shape
from wattlane.workload.shaping import FOLDER, names, read_shape

SHIPPED = {"azure-code": 8819, "azure-conv": 19366}


def _make(workload: Workload):
    return make_shape(workload, name="t", source="a test", licence="none", source_sha256="0" * 64)


def test_the_shipped_shapes_are_small_and_carry_their_licence():
    assert names() == tuple(sorted(SHIPPED))
    for name in names():
        assert (FOLDER / f"{name}.json").stat().st_size < 60_000
        assert "Azure/AzurePublicDataset" in shape(name).source
        assert shape(name).licence == "CC-BY 4.0"
        assert "Azure" in repr(shape(name))


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_sample_has_the_statistics_of_its_trace(name, seed):
    drawn, facts = describe(shape(name).sample(seed)), shape(name).statistics
    assert drawn["requests"] == SHIPPED[name]
    assert drawn["requests_per_minute"] == shape(name).per_minute.tolist()
    assert drawn["span_s"] == shape(name).span_s
    for side in ("input_tokens", "output_tokens"):
        for key, tolerance in (("mean", 0.005), ("std", 0.01), ("p50", 0.01), ("p90", 0.025), ("p99", 0.03)):
            assert drawn[side][key] == pytest.approx(facts[side][key], rel=tolerance), (side, key)
    assert drawn["gap_cv"] == pytest.approx(facts["gap_cv"], rel=0.04)
    for kind, value in facts["input_output_correlation"].items():
        assert drawn["input_output_correlation"][kind] == pytest.approx(value, abs=0.02)


def test_the_seed_alone_decides_a_sample():
    one, same, other = (shape("azure-conv").sample(seed) for seed in (7, 7, 8))
    for column in ("arrival_s", "input_tokens", "output_tokens"):
        assert np.array_equal(getattr(one, column), getattr(same, column))
        assert not np.array_equal(getattr(one, column), getattr(other, column))


@pytest.mark.data
@pytest.mark.parametrize("kind", ["code", "conv"])
def test_the_shipped_shapes_follow_from_the_traces(data_dir: Path, kind, tmp_path):
    loaded = load(data_dir / "traces" / "azure-llm-2023" / f"AzureLLMInferenceTrace_{kind}.csv")
    shipped = shape(f"azure-{kind}")
    made = make_shape(
        loaded.workload,
        name=shipped.name,
        source=shipped.source,
        licence=shipped.licence,
        source_sha256=loaded.sha256,
    )
    made.write(tmp_path / "made.json")
    assert (tmp_path / "made.json").read_bytes() == (FOLDER / f"azure-{kind}.json").read_bytes()


def test_an_unknown_shape_names_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"azure-con.*did you mean 'azure-conv'.*azure-code, azure-conv"):
        shape("azure-con")


def test_a_burst_has_no_shape():
    with pytest.raises(InputError, match="arrive at once"):
        _make(Workload(np.zeros(3), np.full(3, 5), np.full(3, 5)))


def test_a_file_of_another_kind_is_no_shape(tmp_path):
    write_json(tmp_path / "x.json", "law", {})
    with pytest.raises(FileFormatError, match="expected 'shape'"):
        read_shape(tmp_path / "x.json")


def test_poisson_arrivals_have_no_dispersion_and_bursts_do():
    random = np.random.default_rng(0)
    steady = np.sort(random.random(20_000)) * 3600.0
    bursts = np.sort(np.repeat(random.random(500) * 3600.0, 40) + random.random(20_000) * 0.5)
    none = np.zeros((0, 2))
    assert cascade.dispersions(steady - steady[0], none).max() < 0.02
    assert cascade.dispersions(bursts - bursts[0], none)[:6].min() > 0.1


def test_no_request_falls_into_a_silence():
    made = shape("azure-code")
    arrival_s = made.sample(3).arrival_s
    starts, ends = made.silences_s[:, 0], made.silences_s[:, 1]
    at = np.searchsorted(ends, arrival_s)
    inside = (at < len(ends)) & (arrival_s > starts[np.minimum(at, len(ends) - 1)] + 1e-9)
    inside &= arrival_s < ends[np.minimum(at, len(ends) - 1)] - 1e-9
    assert len(ends) == 45
    assert not inside.any()


def test_requests_in_a_last_minute_without_length_stay_there():
    made = _make(Workload(np.array([0.0, 60.0, 60.0]), np.ones(3, int), np.ones(3, int)))
    assert made.sample(0).arrival_s.tolist() == [0.0, 60.0, 60.0]
