"""Regimes on the published ranges (D8) and the quality hook (D17)."""

from __future__ import annotations

import numpy as np
import pytest

from wattlane.core.errors import InputError, MeasurementError
from wattlane.core.regime import Bound, Sample, classify
from wattlane.measure.quality import RANDOM_WEIGHTS, LogitDistance, logit_distance

PARAMETERS = 8.03e9  # Llama-3.1-8B
WEIGHT_BYTES = 4 * PARAMETERS  # fp32
FP32_FLOP_PER_S, H100_BYTES_PER_S = 67e12, 3.35e12
PROMPTS = (410, 700, 1190, 1600, 2156)


def prefill(tflop_per_s: float) -> list[Sample]:
    return [Sample(n, 2 * PARAMETERS * n / (tflop_per_s * 1e12), 2 * PARAMETERS * n, WEIGHT_BYTES) for n in PROMPTS]


def decode(times_s) -> list[Sample]:
    return [Sample(n, t, 2 * PARAMETERS, WEIGHT_BYTES) for n, t in zip(PROMPTS, times_s, strict=True)]


@pytest.mark.parametrize("tflop_per_s", [43, 50])
def test_d8_published_prefill_is_compute_bound(tflop_per_s):
    found = classify(prefill(tflop_per_s), FP32_FLOP_PER_S, H100_BYTES_PER_S)
    assert found.bound is Bound.COMPUTE
    assert found.times_floor == pytest.approx(67 / tflop_per_s)


def test_d8_published_decode_is_launch_bound_not_bandwidth_bound():
    found = classify(decode((24.6e-3, 25.9e-3, 24.9e-3, 27.2e-3, 24.8e-3)), FP32_FLOP_PER_S, H100_BYTES_PER_S)
    assert found.bound is Bound.LAUNCH
    assert found.byte_floor_s == pytest.approx(9.6e-3, rel=0.01)
    assert found.times_floor == pytest.approx(2.6, rel=0.02)
    assert abs(found.growth) < 0.15
    assert "launch-bound: 2.6 times the floor" in str(found)


def test_decode_near_its_bytes_is_bandwidth_bound_and_slow_growing_work_is_unexplained():
    near = classify(decode([12e-3] * 5), FP32_FLOP_PER_S, H100_BYTES_PER_S)
    assert near.bound is Bound.BANDWIDTH
    grows = classify(decode(np.array(PROMPTS) * 2e-5 + 20e-3), FP32_FLOP_PER_S, H100_BYTES_PER_S)
    assert grows.bound is Bound.UNEXPLAINED
    assert str(grows).startswith("unexplained: ")
    single = classify(decode([25e-3] * 5)[:1], FP32_FLOP_PER_S, H100_BYTES_PER_S)
    assert (single.bound, single.growth) == (Bound.UNEXPLAINED, None)
    assert "growth with the prompt not known" in str(single)


def test_times_below_their_floor_and_nonsense_are_refused():
    with pytest.raises(MeasurementError, match=r"0\.52 of its floor"):
        classify(decode([5e-3] * 5), FP32_FLOP_PER_S, H100_BYTES_PER_S)
    with pytest.raises(InputError, match=r"peak_flop_per_s is 0[\s\S]*found 0 samples"):
        classify([], 0, 1)


def test_d17_logit_distance_is_zero_for_equal_and_matches_the_closed_form_of_a_shift():
    z = np.random.default_rng(0).normal(size=(3, 7, 50))
    same = logit_distance(z, z.copy())
    assert (same.kl_nats, same.top1_agreement, same.max_abs, same.positions) == (0.0, 1.0, 0.0, 21)
    shifted = logit_distance(z, z + 5.0)  # softmax does not see a constant
    assert shifted.kl_nats == pytest.approx(0, abs=1e-12)
    assert shifted.max_abs == pytest.approx(5)
    two = logit_distance(np.log([[0.75, 0.25]]), np.log([[0.25, 0.75]]))
    assert two.kl_nats == pytest.approx(0.5 * np.log(3))
    assert two.top1_agreement == 0


def test_d17_the_quality_hook_names_both_sides_and_random_weights_say_nothing_about_accuracy():
    z = np.random.default_rng(1).normal(size=(4, 9))
    hook = LogitDistance({"fp32": z, "int8": np.round(z, 1)}, random_weights=True)
    found = hook("fp32", "int8").as_dict()
    assert (found["reference"], found["name"]) == ("fp32", "int8")
    assert 0 < found["max_abs"] <= 0.05 + 1e-9
    assert found["notes"] == [RANDOM_WEIGHTS]
    assert logit_distance(z, z).notes == ()
    with pytest.raises(InputError, match="no logits of int4; found fp32, int8"):
        hook("fp32", "int4")
    with pytest.raises(InputError, match="expected the same"):
        logit_distance(z, z[:2])
    with pytest.raises(InputError, match="not finite"):
        logit_distance(z, z * np.inf)
