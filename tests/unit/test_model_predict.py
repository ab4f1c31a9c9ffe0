"""Predictions carry an interval, say when they extrapolate, and refuse what would be a guess."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wattlane.cli.app import run
from wattlane.core.errors import InputError, OutOfRangeError
from wattlane.core.facts.gpus import gpu
from wattlane.core.facts.models import model
from wattlane.core.types import Estimate, Origin
from wattlane.model.laws.phase import Case
from wattlane.model.predict import UNITS, Prediction, predict
from wattlane.model.predict_rows import PREFILL_NOTE
from wattlane.model.profile import Profile, profile_for

H100, LLAMA = gpu("H100"), model("Llama-3.1-8B-Instruct")
CASE = Case(H100, LLAMA)
ASK = {"batch": 64, "input_tokens": 1024, "output_tokens": 256}


def width(estimate: Estimate) -> float:
    return (estimate.hi - estimate.lo) / estimate.mean


def test_values_are_modelled_inside_their_intervals_and_consistent() -> None:
    found = predict(CASE, **ASK)
    for name, unit in UNITS.items():
        estimate = getattr(found, name)
        assert estimate.unit == unit
        assert estimate.origin is Origin.MODELLED
        assert 0 < estimate.lo < estimate.mean < estimate.hi
    assert not found.extrapolated
    assert found.notes == (PREFILL_NOTE,)
    assert found.tokens_per_s.mean == pytest.approx(64 / found.itl_s.mean)
    assert found.energy_j_per_output_token.mean == pytest.approx(found.power_w.mean / found.tokens_per_s.mean)
    whole = found.decode_j_per_token.mean + found.prefill_j_per_token.mean * 1024 / 256
    assert found.energy_j_per_output_token.mean == pytest.approx(whole, rel=1e-9)


def test_conformal_intervals_stand_beside_the_parametric_ones_where_the_profile_has_them() -> None:
    found = predict(CASE, **ASK)
    assert set(found.conformal) == {"power_w", "itl_s", "energy_j_per_output_token"}
    family = profile_for(H100).families["dense"]
    for name, kind in (("power_w", "power"), ("itl_s", "itl"), ("energy_j_per_output_token", "energy")):
        one = found.conformal[name]
        assert one.level == 0.90
        assert one.mean == getattr(found, name).mean
        assert np.log(one.hi / one.mean) == pytest.approx(family.conformal[kind].half_width_log)
        assert np.log(one.mean / one.lo) == pytest.approx(family.conformal[kind].half_width_log)
    slow, unknown = Case(H100, LLAMA, clock_hz=1.2e9), {**ASK, "input_tokens": None}
    for other in (predict(slow, **ASK), predict(CASE, **unknown)):
        assert not other.conformal
    cold = predict(Case(gpu("L40S"), LLAMA), batch=8, input_tokens=256, output_tokens=64)
    assert width(cold.conformal["power_w"]) > width(found.conformal["power_w"])


def test_llama_8b_on_h100_is_in_the_range_of_measured_serving() -> None:
    found = predict(CASE, **ASK)
    assert 400 < found.power_w.mean < 700
    assert 0.008 < found.itl_s.mean < 0.025
    assert 0.015 < found.ttft_s.mean < 0.05
    assert 0.08 < found.energy_j_per_output_token.mean < 0.3


def test_same_seed_gives_the_same_prediction_and_another_only_other_intervals() -> None:
    one, two, other = (predict(CASE, **ASK, seed=seed, draws=200) for seed in (1, 1, 2))
    assert one == two
    assert one.power_w.mean == other.power_w.mean
    assert one.power_w.lo != other.power_w.lo


def test_interval_holds_the_value_even_with_a_single_draw() -> None:
    found = predict(CASE, **ASK, draws=1, seed=3)
    for name in UNITS:
        estimate = getattr(found, name)
        assert estimate.lo == estimate.mean or estimate.mean == estimate.hi


def test_clock_below_the_maximum_widens_the_energy_interval_and_says_it_is_a_prior() -> None:
    fast, slow = predict(CASE, **ASK), predict(Case(H100, LLAMA, clock_hz=1.2e9), **ASK)
    assert width(slow.energy_j_per_output_token) > width(fast.energy_j_per_output_token)
    assert slow.energy_j_per_output_token.mean < fast.energy_j_per_output_token.mean
    assert "is a prior, not measured" in slow.notes[1]


def test_gpu_that_was_never_measured_is_wider_and_marked() -> None:
    known, cold = predict(CASE, **ASK), predict(Case(gpu("H200"), LLAMA), **ASK)
    assert cold.extrapolated
    assert cold.itl_s.extrapolated
    assert width(cold.itl_s) > 1.15 * width(known.itl_s)
    assert any("never measured" in reason for reason in cold.reasons)
    assert cold.profile == "H200 vLLM"  # shipped, carried over from H100


def test_batch_of_one_is_marked_and_slower_per_token_than_streaming() -> None:
    found = predict(CASE, batch=1, input_tokens=128, output_tokens=128)
    assert found.reasons[0].startswith("batch 1 outside")
    assert found.itl_s.mean > CASE.weight_bytes / H100.bandwidth_bytes_per_s


def test_given_profile_is_used() -> None:
    assert predict(CASE, **ASK, profile=profile_for(gpu("B200"))).profile == "B200 vLLM"


def test_profile_that_states_no_range_refuses_nothing() -> None:
    known = profile_for(H100)
    free = {kind: replace(family, range={}, precisions=()) for kind, family in known.families.items()}
    profile = Profile("own", "H100", "engine", free, {})
    assert not predict(CASE, batch=2900, input_tokens=16, output_tokens=16, profile=profile).extrapolated


@pytest.mark.parametrize(
    ("case", "batch", "said"),
    [
        (CASE, 2900, "batch 2900 against"),
        (Case(H100, model("Llama-3.2-1B")), 8, "active_params 1.236e+09 against"),
        (Case(H100, LLAMA, tensor_parallel=64), 8, "num_gpus 64 against"),
    ],
)
def test_question_far_outside_the_range_is_refused(case: Case, batch: float, said: str) -> None:
    with pytest.raises(OutOfRangeError) as error:
        predict(case, batch=batch, input_tokens=16, output_tokens=16)
    assert said in str(error.value)
    assert "more than 4 times outside" in str(error.value)
    assert error.value.exit_code == 5


def test_counts_that_make_no_sense_are_reported_together() -> None:
    with pytest.raises(InputError) as error:
        predict(CASE, batch=0, input_tokens=0.5, output_tokens=1e6, draws=-1)
    for said in ("4 problems", "batch is 0", "input_tokens is 0.5", "draws is -1", "expected at most the 131072"):
        assert said in str(error.value)


def test_batch_whose_cache_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match=r"a batch of 500 keeps 2,\d{3},\d{3} tokens in the cache; found room for"):
        predict(CASE, batch=500, input_tokens=4000, output_tokens=1000)


def asked(*more: str) -> list[str]:
    return ["predict", "--model", "meta-llama/Llama-3.1-8B-Instruct", "--input", "1024", "--output", "256", *more]


def test_command_prints_every_quantity_with_its_interval(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(asked("--gpu", "H100", "--batch", "64")) == 0
    printed = capsys.readouterr()
    assert all(name in printed.out for name in UNITS)
    assert printed.err == f"note: {PREFILL_NOTE}\n"
    assert run(asked("--gpu", "H200", "--clock-mhz", "1200", "--precision", "fp8", "--tp", "2")) == 0
    said = capsys.readouterr().err
    assert "extrapolated: batch 1" in said
    assert "never measured" in said
    assert "note: the effect of 1.2e+09 Hz is a prior" in said


def test_command_gives_json_in_si_units(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(asked("--gpu", "H100", "--batch", "64", "--json")) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["power_w"]["lo"] < body["power_w"]["mean"] < body["power_w"]["hi"]
    assert body["power_w"]["origin"] == "modelled"
    assert body["extrapolated"] is False
    assert set(body) == {*Prediction.__dataclass_fields__, "extrapolated"}


def test_command_refuses_with_the_exit_code_of_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(asked("--gpu", "H100", "--batch", "3000")) == 1  # the cache is too small first
    assert run(["predict", "--model", "Llama-3.2-1B", "--gpu", "H100", "--input", "8", "--output", "8"]) == 5
    assert run(asked()) == 1
    assert "found no --model or no --gpu" in capsys.readouterr().err
    assert run(["predict", "--model", "Llama-3.2-1B", "--gpu", "H100"]) == 1
    assert "found no --output" in capsys.readouterr().err
    law = tmp_path / "law.json"
    law.write_text(
        '{"schema": 1, "law": "bilinear", "model": "m", "energy_j": {"a0": 1, "a1": 1, "a2": 1},'
        ' "runtime_s": {"b0": 1, "b1": 1, "b2": 1}}'
    )
    assert run(["predict", "--law", str(law), "--input", "8", "--output", "8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["energy_j"]["hi"] is None


def test_show_prints_profiles(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", "profiles"]) == 0
    assert "vLLM 0.11.1" in capsys.readouterr().out
    assert run(["show", "profile", "H100", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gpu"] == "H100"
