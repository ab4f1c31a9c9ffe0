"""The clock prior: the identity at the maximum clock, and what it says about two published observations."""

from __future__ import annotations

from dataclasses import asdict, astuple

import numpy as np
import pytest

from wattlane.core.facts.gpus import gpu
from wattlane.core.facts.models import model
from wattlane.model import iteration as it
from wattlane.model.clock import RANGES, ClockPrior, clock_scale, draw_clock_prior
from wattlane.model.laws.phase import Case
from wattlane.model.profile import profile_for
from wattlane.model.steady import steady

H100, LLAMA_8B = gpu("H100"), model("Llama-3.1-8B")


def law_at(clock_hz: float, prior: ClockPrior) -> np.ndarray:
    return profile_for(H100).law(Case(H100, LLAMA_8B, clock_hz=clock_hz), prior)


def test_maximum_clock_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    for prior in (ClockPrior(), *(draw_clock_prior(rng) for _ in range(20))):
        assert astuple(clock_scale(1.0, prior)) == pytest.approx((1.0,) * 5, rel=1e-12)


def test_lower_clock_never_raises_a_factor() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        prior = draw_clock_prior(rng)
        rows = np.array([astuple(clock_scale(r, prior)) for r in np.linspace(0.15, 1.0, 40)])
        assert (np.diff(rows, axis=0) >= -1e-12).all()
        assert (rows > 0).all()


@pytest.mark.parametrize("ratio", [0.0, -0.2, 1.01, float("nan")])
def test_ratio_outside_its_range_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="expected a share of the maximum clock"):
        clock_scale(ratio, ClockPrior())


def test_draws_stay_in_their_ranges_and_the_default_is_near_the_middle() -> None:
    rng = np.random.default_rng(2)
    drawn = [asdict(draw_clock_prior(rng)) for _ in range(200)]
    for name, (lo, hi) in RANGES.items():
        values = np.array([one[name] for one in drawn])
        assert lo <= values.min() < lo + 0.1 * (hi - lo)
        assert hi >= values.max() > hi - 0.1 * (hi - lo)
        assert abs(getattr(ClockPrior(), name) - (lo + hi) / 2) <= 0.1 * (hi - lo) + 1e-9


def test_prior_puts_1600_mhz_on_h100_near_the_throughput_of_2000_mhz_at_about_80_to_95_percent_of_the_energy() -> None:
    """A calibration target of the prior (arXiv 2403.20306: under 80 % for most batch sizes), not a check of the law."""
    rng = np.random.default_rng(3)
    energies = []
    for _ in range(200):
        prior = draw_clock_prior(rng)
        for batch in (8.0, 64.0):
            low, high = (steady(law_at(f, prior), batch, 256.0, 256.0, 384.0) for f in (1.6e9, H100.clock_max_hz))
            assert low.iteration_s <= 1.05 * high.iteration_s
            energies.append(low.iteration_j / high.iteration_j)
    lo, hi = np.quantile(energies, [0.025, 0.975])
    assert 0.78 < lo < 0.86
    assert 0.90 < hi < 0.97


def test_prior_lets_the_best_clock_save_at_most_about_a_third_of_decode_energy() -> None:
    """A calibration target of the prior (arXiv 2605.11999: up to 32 % on H200 at little loss)."""
    rng = np.random.default_rng(4)
    savings = []
    for _ in range(60):
        prior = draw_clock_prior(rng)
        base_s, base_j = it.cost(law_at(H100.clock_max_hz, prior), 0.0, 0.0, 16.0, 16e3)
        costs = [it.cost(law_at(f, prior), 0.0, 0.0, 16.0, 16e3) for f in np.linspace(0.6e9, 1.98e9, 24)]
        savings.append(max(1 - j / base_j for s, j in costs if s <= 1.05 * base_s))
    assert min(savings) > 0.12
    assert 0.30 < max(savings) < 0.38


def test_clock_slows_prefill_in_proportion_and_memory_bound_decode_hardly() -> None:
    low, high = law_at(1.3e9, ClockPrior()), law_at(H100.clock_max_hz, ClockPrior())
    low[it.LIMIT_W] = high[it.LIMIT_W] = 1e9  # at the limit a board lowers its clock by itself
    decode = it.cost(low, 0.0, 0.0, 16.0, 16e3)[0] / it.cost(high, 0.0, 0.0, 16.0, 16e3)[0]
    prefill = it.cost(low, 4096.0, 4096.0**2 / 2, 0.0, 0.0)[0] / it.cost(high, 4096.0, 4096.0**2 / 2, 0.0, 0.0)[0]
    assert decode < 1.01
    assert prefill == pytest.approx(1.98 / 1.3, rel=0.05)


def test_energy_of_fixed_decode_work_is_lowest_between_the_clocks_ends() -> None:
    rng = np.random.default_rng(5)
    clocks = np.linspace(H100.clock_min_hz, H100.clock_max_hz, 60)
    for _ in range(10):
        prior = draw_clock_prior(rng)
        energy = np.array([it.cost(law_at(f, prior), 0.0, 0.0, 32.0, 32e3)[1] for f in clocks])
        assert 0 < int(energy.argmin()) < len(clocks) - 1


def test_work_at_the_power_limit_is_slowed_and_a_lower_clock_takes_it_off_the_limit() -> None:
    work = (8192.0, 8192.0**2 / 2, 64.0, 64e3)
    costs = [it.cost(law_at(f, ClockPrior()), *work) for f in (1.4e9, 1.95e9, H100.clock_max_hz)]
    limited = [j == pytest.approx(H100.tdp_w * s, rel=1e-12) for s, j in costs]
    assert limited == [False, True, True]
    # at the limit the board lowers its clock by itself: a slightly lower one changes little, and is never faster
    assert 1.0 - 1e-9 <= costs[1][0] / costs[2][0] < 1.01
