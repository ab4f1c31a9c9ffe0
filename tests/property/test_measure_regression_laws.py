"""Laws of the phase regression on synthetic servers of any size, and of the difference of runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattlane.core.errors import MeasurementError
from wattlane.measure.phases.design import Capacity, LoadPoint, Shape, design
from wattlane.measure.phases.difference import by_difference
from wattlane.measure.phases.part import Repeats
from wattlane.measure.phases.regression import ALPHA, LoadWindow, fit
from wattlane.measure.tokens import count_static

WINDOW_S = 10.0
rates_j = st.floats(1e-4, 50.0)
watts = st.floats(1.0, 700.0)
seeds = st.integers(0, 2**32 - 1)
capacities = st.tuples(st.floats(2e3, 1e5), st.floats(200.0, 1e4)).map(lambda pair: Capacity(*pair))


def windows(points: list[LoadPoint], prefill_j: float, decode_j: float, static_w: float, noise: float, seed: int):
    """Return windows of a server on the line, with noise of a share of each window's energy."""
    rng = np.random.default_rng(seed)
    found = []
    for point in points:
        requests = int(rng.poisson(point.requests)) + 1
        prefill, decode = requests * point.shape.input_tokens, requests * (point.shape.output_tokens - 1)
        energy_j = (prefill_j * prefill + decode_j * decode + static_w * WINDOW_S) * (1 + noise * rng.normal())
        found.append(LoadWindow(point.name, WINDOW_S, prefill, decode, energy_j))
    return found


@settings(max_examples=60, deadline=None)
@given(capacities, rates_j, rates_j, watts, seeds)
def test_any_server_on_the_line_is_recovered_whatever_its_size(capacity, prefill_j, decode_j, static_w, seed):
    plan = design(capacity, window_s=WINDOW_S)
    rows = windows([*plan.points] * 3, prefill_j, decode_j, static_w, 0.0, seed)
    found = fit(rows, misfit_limit=1.0)
    total_j = sum(row.energy_j for row in rows)
    for row in rows:
        mean_j, _, _ = found.energy_j(row.prefill_tokens, row.decode_tokens, row.duration_s)
        assert mean_j == pytest.approx(row.energy_j, rel=1e-6, abs=1e-9 * total_j)


@settings(max_examples=40, deadline=None)
@given(rates_j, rates_j, watts, seeds, st.floats(1e-3, 1e3))
def test_order_of_windows_and_unit_of_energy_change_nothing_else(prefill_j, decode_j, static_w, seed, unit):
    plan = design(Capacity(20_000.0, 2_000.0), window_s=WINDOW_S)
    rows = windows([*plan.points] * 2, prefill_j, decode_j, static_w, 0.01, seed)
    first = fit(rows, misfit_limit=1.0)
    order = np.random.default_rng(seed).permutation(len(rows))
    again = fit([replace(rows[i], energy_j=rows[i].energy_j * unit) for i in order], misfit_limit=1.0)
    for term, one in first.coefficients.items():
        scale = max(abs(one.lo), abs(one.hi)) * unit
        for name in ("mean", "lo", "hi"):
            assert getattr(again.coefficients[term], name) == pytest.approx(
                getattr(one, name) * unit, rel=1e-5, abs=1e-6 * scale
            )
    assert again.identifiability.condition == pytest.approx(first.identifiability.condition, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 2000), st.integers(2, 2000), rates_j, rates_j, watts, seeds)
def test_requests_of_one_kind_are_refused_on_any_server(input_tokens, output_tokens, a_j, b_j, static_w, seed):
    shape = Shape("only", input_tokens, output_tokens)
    points = [LoadPoint(shape, u, 10 * u, int(100 * u)) for u in (0.2, 0.4, 0.6, 0.8)]
    with pytest.raises(MeasurementError, match="not identifiable"):
        fit(windows(points * 4, a_j, b_j, static_w, 0.02, seed))


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(rates_j, rates_j, watts, seeds)
def test_intervals_cover_93_to_97_percent_on_any_server(prefill_j, decode_j, static_w, seed):
    plan = design(Capacity(20_000.0, 2_000.0), window_s=WINDOW_S)
    truth = {"prefill": prefill_j, "decode": decode_j, "time": static_w}
    mean_j = np.mean([row.energy_j for row in windows([*plan.points], prefill_j, decode_j, static_w, 0.0, 0)])
    rng, inside, n, refused = np.random.default_rng(seed), 0, 1000, 0
    for _ in range(n):
        rows = windows([*plan.points] * 3, prefill_j, decode_j, static_w, 0.0, int(rng.integers(2**32)))
        noisy = [replace(row, energy_j=row.energy_j + rng.normal(0, 0.02 * mean_j)) for row in rows]
        try:
            found = fit(noisy, misfit_limit=10.0)
        except MeasurementError:
            refused += 1  # the fit's own test rejects a true line at its level
            continue
        inside += sum(one.lo <= truth[term] <= one.hi for term, one in found.coefficients.items())
    assert refused <= 2 * ALPHA * n
    assert 0.93 <= inside / (n - refused) / 3 <= 0.97


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e4), min_size=2, max_size=8), st.lists(st.floats(0, 1e4), min_size=2, max_size=8))
def test_a_difference_is_never_clamped_and_its_error_holds_both(generated, first):
    split = by_difference(
        Repeats(generated, [1.0] * len(generated)), Repeats(first, [1.0] * len(first)), count_static([10], [5])
    )
    assert split.decode.energy_j == pytest.approx(np.mean(generated) - np.mean(first), abs=1e-6)
    assert split.prefill.energy_j + split.decode.energy_j == pytest.approx(split.total.energy_j, abs=1e-6)
    assert split.decode.se_j >= max(split.total.se_j, split.prefill.se_j)
    assert any(note.startswith("decode_negative") for note in split.notes) == (split.decode.energy_j < 0)
