"""A designed load driven against a local server that is no engine: windows, files, refusals."""

from __future__ import annotations

import pytest
from measure_fake_server import serving

from wattlane.core.errors import InputError, MeasurementError
from wattlane.core.files import read_json
from wattlane.measure.meters.simulated import SimulatedMeter
from wattlane.measure.phases.design import Shape
from wattlane.measure.phases.over_http import split_over_http

SHAPES = (Shape("prompt_heavy", 40, 2), Shape("decode_heavy", 2, 12), Shape("mixed", 20, 6))
QUICK = {"shapes": SHAPES, "utilisations": (0.4, 0.8), "window_s": 0.25, "repeats": 2}


def test_constant_power_is_time_and_no_token_costs_anything(tmp_path):
    with serving("llamacpp", pause_s=0.001) as server:
        found = split_over_http(
            server.base_url, tmp_path, **QUICK, meter=SimulatedMeter.constant(40.0), misfit_limit=0.5
        )
    assert found.coefficients["time"].mean == pytest.approx(40, rel=0.05)
    body = read_json(tmp_path / "phases.json", "phases")
    assert len(body["windows"]) == 12
    assert {window["point"] for window in body["windows"]} == {
        f"{shape.name}@{share:.2f}" for shape in SHAPES for share in QUICK["utilisations"]
    }
    assert (body["fit"]["status"], body["boundary"], body["has_idle"]) == ("modelled", "gpu", True)
    for window in body["windows"]:
        shape = next(s for s in SHAPES if window["point"].startswith(s.name))
        assert window["prefill_tokens"] == window["requests"] * shape.input_tokens
        assert window["decode_tokens"] == window["requests"] * (shape.output_tokens - 1)
        assert window["energy_j"] == pytest.approx(40 * window["duration_s"], rel=0.05)


def test_a_refused_fit_leaves_its_windows_and_the_reason(tmp_path):
    few = QUICK | {"shapes": SHAPES[:2], "repeats": 1}
    with serving("llamacpp", pause_s=0.001) as server, pytest.raises(MeasurementError, match="found 4 windows"):
        split_over_http(server.base_url, tmp_path, **few, meter=SimulatedMeter.constant(40.0))
    body = read_json(tmp_path / "phases.json", "phases")
    assert body["fit"] is None
    assert body["refused"].startswith("phases not identifiable: found 4 windows of 4 load points")
    assert len(body["windows"]) == 4


def test_a_load_that_cannot_tell_the_phases_apart_is_refused_before_it_is_driven(tmp_path):
    same = QUICK | {"shapes": SHAPES[:1]}
    with serving("llamacpp", pause_s=0.001) as server:
        with pytest.raises(InputError, match="cannot be told apart"):
            split_over_http(server.base_url, tmp_path, **same, meter=SimulatedMeter.constant(40.0))
        assert len(server.seen) == 2 + 8  # warm-up and probes
    assert list(tmp_path.iterdir()) == []
