"""Laws of nature of the phase law, over drawn parameters, models and work."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wattlane.core.facts.gpus import gpu
from wattlane.core.facts.models import model
from wattlane.model import iteration as it
from wattlane.model.laws.phase import Case
from wattlane.model.profile import draw, profile_for, scaled
from wattlane.model.steady import steady

MODELS = ("Llama-3.1-8B", "Llama-3.1-70B", "Qwen3-30B-A3B", "gpt-oss-20b")
BOARDS = ("H100", "B200", "A100-40GB", "L40S")


@st.composite
def laws(make: st.DrawFn) -> np.ndarray:
    board = gpu(make(st.sampled_from(BOARDS)))
    share = make(st.floats(0.2, 1.0))
    clock_hz = max(share * board.clock_max_hz, board.clock_min_hz)
    case = Case(
        board, model(make(st.sampled_from(MODELS))), tensor_parallel=make(st.sampled_from([1, 2, 8])), clock_hz=clock_hz
    )
    return draw(profile_for(board), case, np.random.default_rng(make(st.integers(0, 1000)))).law(case)


unhurried = settings(deadline=None)  # the first call of a kernel compiles it
counts = st.integers(0, 4000).map(float)
contexts = st.floats(1.0, 30e3)


@unhurried
@given(laws(), counts, contexts, counts, contexts)
def test_time_and_energy_are_never_negative_and_power_never_above_the_limit(
    law: np.ndarray, p: float, per_p: float, d: float, per_d: float
) -> None:
    t, e = it.cost(law, p, p * per_p, d, d * per_d)
    assert t > 0
    assert 0 < e <= law[it.LIMIT_W] * t * (1 + 1e-12)


@unhurried
@given(laws(), counts, contexts, counts, contexts, st.integers(0, 3), st.floats(1.0, 2000.0))
def test_more_work_never_takes_less_time_or_energy(
    law: np.ndarray, p: float, per_p: float, d: float, per_d: float, which: int, more: float
) -> None:
    work = [p, p * per_p, d, d * per_d]
    added = list(work)
    added[which] += more
    for less, greater in zip(it.cost(law, *work), it.cost(law, *added), strict=True):
        assert greater >= less * (1 - 1e-12)


@unhurried
@given(laws(), counts, contexts, counts, contexts)
def test_shares_close_and_are_never_negative(law: np.ndarray, p: float, per_p: float, d: float, per_d: float) -> None:
    work = (p, p * per_p, d, d * per_d)
    _, e, c0, *prices = it.shares(law, it.decode_constants(law), *work)
    assert min(c0, *prices) >= -1e-12
    if p + d > 0:
        total = c0 + sum(price * amount for price, amount in zip(prices, work, strict=True))
        assert abs(total - e) <= 1e-9 * e


@unhurried
@given(laws(), st.floats(0.5, 2.0), st.floats(0.6, 1.5), counts, contexts)
def test_scaling_time_scales_it_exactly(law: np.ndarray, time: float, power: float, d: float, per_d: float) -> None:
    law = law.copy()
    law[it.LIMIT_W] = 1e9  # at the limit more power takes longer
    t = it.cost(law, 0.0, 0.0, d, d * per_d)[0]
    assert abs(it.cost(scaled(law, time, power), 0.0, 0.0, d, d * per_d)[0] - time * t) <= 1e-9 * time * t


@unhurried
@given(laws(), st.floats(1.0, 512.0), st.floats(1.0, 4000.0), st.floats(2.0, 1000.0), st.floats(1.0, 3.0))
def test_longer_prompts_and_longer_contexts_never_cost_less(
    law: np.ndarray, batch: float, tin: float, tout: float, factor: float
) -> None:
    short = steady(law, batch, tin, tout, tin + tout / 2)
    long = steady(law, batch, tin * factor, tout, tin * factor + tout / 2)
    assert long.iteration_s >= short.iteration_s * (1 - 1e-12)
    assert long.iteration_j >= short.iteration_j * (1 - 1e-12)
    assert short.decode_j + short.prefill_j - short.iteration_j <= 1e-9 * short.iteration_j
