"""An iteration's energy is shared out exactly, by prices that follow the Aumann-Shapley integral."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from wattlane.core.facts.gpus import gpu
from wattlane.core.facts.models import model
from wattlane.model import iteration as it
from wattlane.model.jit import kernel, source_hash
from wattlane.model.laws.phase import Case
from wattlane.model.profile import profile_for

H100 = gpu("H100")
MODELS = {
    "dense": Case(H100, model("Llama-3.1-8B")),
    "parallel": Case(H100, model("Llama-3.1-70B"), tensor_parallel=4),
    "experts": Case(H100, model("Qwen3-30B-A3B"), tensor_parallel=2),
}
WORK = [
    (0.0, 0.0, 1.0, 500.0),
    (0.0, 0.0, 64.0, 64e3),
    (0.0, 0.0, 2000.0, 400e3),
    (1.0, 0.5, 0.0, 0.0),
    (2048.0, 2048.0**2 / 2, 0.0, 0.0),
    (2048.0, 2048.0**2, 64.0, 64e3),
    (300.0, 300.0 * 4000, 200.0, 200e3),
]


def law_of(kind: str, limit_w: float | None = None) -> np.ndarray:
    law = profile_for(H100).law(MODELS[kind])
    if limit_w is not None:
        law[it.LIMIT_W] = limit_w * MODELS[kind].tensor_parallel
    return law


def integral(law: np.ndarray, x: tuple[float, float, float, float], steps: int = 20_000) -> np.ndarray:
    """Price of each kind of work by brute force: the mean of the gradient along the ray, midpoint rule."""
    s = (np.arange(steps) + 0.5) / steps
    out = np.zeros(4)
    for j in range(4):
        for point in s[:: steps // 200]:
            at = [max(point * v, 1e-6) for v in x]
            h = max(1e-4 * at[j], 1e-4)
            up, down = list(at), list(at)
            up[j] += h
            down[j] -= h if at[j] > h else 0.0
            out[j] += (it.cost(law, *up)[1] - it.cost(law, *down)[1]) / (up[j] - down[j]) / 200
    return out


@pytest.mark.parametrize("limit_w", [None, 550.0, 400.0, 200.0])
@pytest.mark.parametrize("kind", MODELS)
def test_shares_sum_to_the_whole_and_are_never_negative(kind: str, limit_w: float | None) -> None:
    law = law_of(kind, limit_w)
    constants = it.decode_constants(law)
    for x in WORK:
        t, e, c0, *prices = it.shares(law, constants, *x)
        assert (t, e) == pytest.approx(it.cost(law, *x), rel=1e-12)
        assert c0 + sum(p * v for p, v in zip(prices, x, strict=True)) == pytest.approx(e, rel=1e-11)
        assert min(c0, *prices) >= 0


@pytest.mark.parametrize("kind", ["dense", "parallel"])
@pytest.mark.parametrize("x", [WORK[2], WORK[4], WORK[5]])
def test_prices_equal_the_integral_of_the_gradient_below_the_limit(
    kind: str, x: tuple[float, float, float, float]
) -> None:
    law = law_of(kind, 1e9)
    prices = np.array(it.shares(law, it.decode_constants(law), *x)[3:])
    brute = integral(law, x)
    parts, expected = prices * x, brute * x
    assert parts == pytest.approx(expected, abs=0.02 * float(expected.sum()))


@pytest.mark.parametrize(("kind", "tolerance"), [("dense", 1e-9), ("parallel", 1e-9), ("experts", 1e-4)])
def test_short_form_of_a_decode_iteration_equals_the_long_one(kind: str, tolerance: float) -> None:
    law = law_of(kind)
    constants = it.decode_constants(law)
    for d, per in itertools.product((1.0, 7.0, 100.0), (10.0, 1000.0, 30e3)):
        short = np.array(it.shares(law, constants, 0.0, 0.0, d, d * per))
        full = np.array(it.priced(law, constants[it.EMPTY_J], 0.0, 0.0, d, d * per))
        # prefill prices differ: there is no prefill to charge
        assert short[[0, 1, 2, 5, 6]] == pytest.approx(full[[0, 1, 2, 5, 6]], rel=tolerance)


def test_decode_line_stops_holding_where_arithmetic_takes_over() -> None:
    law = law_of("dense")
    constants = it.decode_constants(law)
    bound = law[it.WEIGHT_BYTES] / law[it.WEIGHT_BYTES_PER_S] * law[it.FLOP_PER_S] / law[it.FLOP_PER_DECODE_TOKEN]
    assert it.decode_line(law, constants, 0.99 * bound)[3]
    assert not it.decode_line(law, constants, 1.01 * bound)[3]


def test_mixture_of_experts_touches_all_its_experts_only_with_many_tokens() -> None:
    law = law_of("experts")
    everything = law[it.WEIGHT_BYTES] + law[it.EXPERT_BYTES]
    one = it.touched_bytes(law, 1.0)
    active = law[it.WEIGHT_BYTES] + law[it.EXPERT_BYTES] * law[it.EXPERTS_PER_TOKEN] / law[it.EXPERTS]
    assert one == pytest.approx(active)
    assert one < it.touched_bytes(law, 32.0) < it.touched_bytes(law, 2000.0) <= everything
    assert it.touched_bytes(law, 5000.0) == pytest.approx(everything, rel=1e-6)


def test_model_that_uses_all_experts_at_once_is_dense_to_the_account() -> None:
    law = law_of("experts")
    law[it.EXPERTS_PER_TOKEN] = law[it.EXPERTS]
    _, e, c0, *prices = it.shares(law, it.decode_constants(law), *WORK[5])
    assert c0 + sum(p * v for p, v in zip(prices, WORK[5], strict=True)) == pytest.approx(e, rel=1e-11)


def test_iteration_without_work_costs_the_host_and_the_weights_and_prices_nothing_away() -> None:
    for kind in MODELS:
        law = law_of(kind)
        t, e, c0, *_ = it.shares(law, it.decode_constants(law), 0.0, 0.0, 0.0, 0.0)
        assert t > 0
        assert e == c0


def test_experts_on_several_gpus_wait_for_the_fullest_and_draw_less_meanwhile() -> None:
    law = law_of("experts")
    even = law.copy()
    even[it.EXPERT_SPREAD] = 1.0
    assert law[it.EXPERT_SPREAD] > 1.1
    slow, fast = it.cost(law, 0.0, 0.0, 8.0, 8e3), it.cost(even, 0.0, 0.0, 8.0, 8e3)
    assert slow[0] > fast[0]
    assert fast[1] < slow[1] < fast[1] + law[it.STATIC_W] * (slow[0] - fast[0])
    assert slow[1] / slow[0] < fast[1] / fast[0]


def test_power_limit_lengthens_an_iteration_and_saves_joules_as_a_lower_clock_does() -> None:
    free, held = law_of("dense", 1e9), law_of("dense", 300.0)
    for x in WORK:
        (t, e), (slower, less) = it.cost(free, *x), it.cost(held, *x)
        assert less / slower == pytest.approx(300.0)
        assert (slower / t) == pytest.approx((e / t / 300.0) ** 0.5)
        assert less < e


def test_kernels_are_cached_under_the_hash_of_their_sources() -> None:
    assert len(source_hash()) == 16

    @kernel
    def twice(x: float) -> float:
        return 2.0 * x

    assert twice(4.0) == 8.0
