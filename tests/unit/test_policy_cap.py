"""Power budgets as plain functions: more power is never capped less, and nothing oscillates at constant power."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattlane.model.jit import kernel
from wattlane.policy import cap

COMPILED = not numba.config.DISABLE_JIT
shares = st.floats(0.0, 2.0)
stages = st.integers(0, 3)
degrees = st.floats(0.0, 150.0)


@given(stages, shares, shares)
def test_more_power_is_never_capped_less(stage: int, a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    assert cap.polca_stage(stage, low, 0.8, 0.89, 0.05) <= cap.polca_stage(stage, high, 0.8, 0.89, 0.05)


@given(stages, shares)
def test_polca_rises_at_once_falls_a_stage_at_a_time_and_settles(stage: int, share: float) -> None:
    after = cap.polca_stage(stage, share, 0.8, 0.89, 0.05)
    assert after >= stage - 1
    assert (after == cap.BRAKE) or share <= 1.0
    seen = [stage]
    for _ in range(8):
        seen.append(cap.polca_stage(seen[-1], share, 0.8, 0.89, 0.05))
    assert len(set(seen[4:])) == 1
    assert cap.polca_stage(0, share, 0.8, 0.89, 0.05) <= seen[-1]


def test_polca_lets_go_only_below_the_threshold_by_a_margin() -> None:
    assert cap.polca_stage(cap.LOW, 0.76, 0.8, 0.89, 0.05) == cap.LOW
    assert cap.polca_stage(cap.LOW, 0.74, 0.8, 0.89, 0.05) == cap.NONE
    assert cap.polca_stage(cap.BRAKE, 0.96, 0.8, 0.89, 0.05) == cap.BRAKE
    assert cap.polca_stage(cap.BRAKE, 0.94, 0.8, 0.89, 0.05) == cap.ALL


@given(degrees, st.floats(0.0, 1000.0), st.floats(0.0, 100.0))
def test_temperature_goes_towards_where_it_settles_and_time_may_be_cut(
    before_c: float, watts: float, seconds: float
) -> None:
    settled_c = 25.0 + 0.08 * watts
    once = cap.heated_c(before_c, watts, seconds, 25.0, 0.08, 30.0)
    half = cap.heated_c(before_c, watts, seconds / 2, 25.0, 0.08, 30.0)
    assert cap.heated_c(half, watts, seconds / 2, 25.0, 0.08, 30.0) == pytest.approx(once, abs=1e-9)
    assert min(before_c, settled_c) - 1e-9 <= once <= max(before_c, settled_c) + 1e-9


@given(st.integers(0, 8), degrees, degrees, shares)
def test_tapas_stays_in_the_grid_and_rises_only_far_from_every_limit(
    ceiling: int, temperature_c: float, mean_c: float, share: float
) -> None:
    after = cap.tapas_ceiling(ceiling, 8, temperature_c, mean_c, share, 0.8, 0.05, 80.0, 4.0)
    assert 0 <= after <= 8
    if after > ceiling:
        assert temperature_c < 72.0
        assert share < 0.75
    if temperature_c > 80.0 or share > 1.0:
        assert after == max(0, ceiling - 2)
    if cap.is_hot(temperature_c, 80.0, 4.0):
        assert after < ceiling or ceiling == 0


@given(st.lists(st.integers(1, 8), min_size=1, max_size=9), st.floats(1.0, 1e5))
def test_static_caps_add_up_to_the_budget_and_are_equal_per_gpu(gpus: list[int], budget_w: float) -> None:
    caps = [cap.static_share_w(budget_w, n, sum(gpus)) for n in gpus]
    assert sum(caps) == pytest.approx(budget_w)
    assert np.ptp([w / n for w, n in zip(caps, gpus, strict=True)]) <= 1e-9 * budget_w


@pytest.mark.skipif(not COMPILED, reason="nothing is compiled in this run")
def test_compiled_policies_decide_as_plain_ones() -> None:
    rng = np.random.default_rng(0)
    stage, heated, hot, ceiling = (kernel(f) for f in (cap.polca_stage, cap.heated_c, cap.is_hot, cap.tapas_ceiling))
    for _ in range(200):
        a, b, c = rng.uniform(0.0, 1.3, 3).tolist()
        n = int(rng.integers(0, 4))
        assert stage(n, a, 0.8, 0.89, 0.05) == cap.polca_stage(n, a, 0.8, 0.89, 0.05)
        warm = (60 * a, 500 * b, 9 * c, 25.0, 0.08, 30.0)
        assert heated(*warm) == pytest.approx(cap.heated_c(*warm), rel=1e-14)
        assert hot(90 * a, 80.0, 4.0) == cap.is_hot(90 * a, 80.0, 4.0)
        row = (n, 5, 90 * a, 90 * b, c, 0.8, 0.05, 80.0, 4.0)
        assert ceiling(*row) == cap.tapas_ceiling(*row)
