"""Arrival processes: the figures they must have, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from wattlane.core.errors import FileFormatError, InputError, UnknownNameError
from wattlane.core.workload import Workload
from wattlane.workload.arrivals import ARRIVALS, delavande_legacy, draw_n, draw_until, inversion
from wattlane.workload.arrivals.delavande_legacy import inversions, legacy_starts
from wattlane.workload.arrivals.weibull import shape_of
from wattlane.workload.generation import generate
from wattlane.workload.loading import load
from wattlane.workload.writing import _table, write

N = 10_000


def seed(value: int = 0) -> np.random.SeedSequence:
    return np.random.SeedSequence(value)


def cv(arrival_s: NDArray[np.float64]) -> float:
    gaps_s = np.diff(arrival_s)
    return float(gaps_s.std() / gaps_s.mean())


@pytest.mark.parametrize(
    ("spec", "expected", "tolerance"),
    [
        ("kind=deterministic,rate_rps=20", 0.0, 1e-9),
        ("kind=uniform,low_s=0,high_s=0.05", 0.58, 0.02),
        ("kind=uniform,low_s=0.05,high_s=0.3", 0.41, 0.02),
        ("kind=uniform,low_s=0.3,high_s=0.5", 0.14, 0.02),
        ("kind=poisson,rate_rps=5", 1.0, 0.03),
    ],
)
def test_d12_gap_cv_of_the_published_arrival_shapes(spec: str, expected: float, tolerance: float) -> None:
    assert cv(draw_n(spec, N, seed())) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(("low_s", "high_s"), [(0.0, 0.05), (0.05, 0.3), (0.3, 0.5)])
def test_d12_legacy_arrivals_are_poisson_like_with_nearly_half_the_neighbours_swapped(
    low_s: float, high_s: float
) -> None:
    starts_s = legacy_starts(np.random.default_rng(0), N, low_s=low_s, high_s=high_s)
    assert 0.455 <= inversions(starts_s) <= 0.495
    assert cv(np.sort(starts_s)) == pytest.approx(1.0, abs=0.07)
    ordered = delavande_legacy.delavande_legacy(np.random.default_rng(0), N, low_s=low_s, high_s=high_s)
    assert np.array_equal(ordered, np.sort(starts_s))


def test_d12_a_burst_has_every_arrival_at_zero() -> None:
    assert draw_n("kind=burst", 100, seed()).tolist() == [0.0] * 100


def test_legacy_sums_have_the_mean_and_spread_of_the_direct_sums() -> None:
    count, repeats = 100, 3000
    fast = np.stack([legacy_starts(np.random.default_rng(i), count, low_s=0.1, high_s=0.4) for i in range(repeats)])
    index = np.arange(count)
    mean, sd = 0.25 * index, np.sqrt(index / 12) * 0.3
    assert np.abs(fast.mean(axis=0) - mean).max() < 5 * sd.max() / np.sqrt(repeats)
    assert fast.std(axis=0)[1:] == pytest.approx(sd[1:], rel=0.08)
    assert (fast[:, 0] == 0).all()


@pytest.mark.parametrize("n", [1, 2, 63, 64, 65])
def test_legacy_makes_exactly_n_at_the_border_between_sum_and_limit(n: int) -> None:
    assert len(legacy_starts(np.random.default_rng(0), n, low_s=0.0, high_s=1.0)) == n


def test_inversions_of_one_request_are_none() -> None:
    assert inversions(np.zeros(1)) == 0.0
    assert inversions(np.array([1.0, 0.0, 2.0])) == 0.5


@pytest.mark.parametrize("value", [0.01, 0.3, 1.0, 2.0, 13.0, 1000.0])
def test_weibull_shape_has_the_cv_asked_for(value: float) -> None:
    from math import lgamma

    shape = shape_of(value)
    assert np.expm1(lgamma(1 + 2 / shape) - 2 * lgamma(1 + 1 / shape)) == pytest.approx(value**2, rel=1e-6)


def test_weibull_of_cv_1_is_exponential() -> None:
    assert shape_of(1.0) == pytest.approx(1.0, rel=1e-9)


def test_on_off_of_fixed_periods_is_silent_while_off_and_keeps_the_mean_rate() -> None:
    arrival_s = draw_n("kind=on_off,rate_rps=10,on_s=5,off_s=15,period_cv=0", 20_000, seed())
    assert (arrival_s % 20 <= 5 + 1e-6).all()
    assert len(arrival_s) / arrival_s[-1] == pytest.approx(10, rel=0.04)


def test_on_off_of_equal_rates_is_poisson() -> None:
    arrival_s = draw_n("kind=on_off,rate_rps=10,on_s=5,off_s=15,off_rate_rps=10", 20_000, seed())
    assert cv(arrival_s) == pytest.approx(1.0, abs=0.03)


def test_on_off_is_burstier_than_poisson() -> None:
    assert cv(draw_n("kind=on_off,rate_rps=10,on_s=5,off_s=15", 20_000, seed())) > 3


def test_diurnal_sine_peaks_where_asked_and_falls_to_zero_at_full_depth() -> None:
    arrival_s = draw_n("kind=diurnal,rate_rps=1,depth=1,peak_s=50400", 5 * 86_400, seed())
    hours = np.bincount((arrival_s % 86_400 // 3600).astype(int), minlength=24)
    assert hours[13] + hours[14] > 1.9 * hours.mean() * 2
    assert hours[1] + hours[2] < 0.05 * hours.mean()
    assert len(arrival_s) / arrival_s[-1] == pytest.approx(1.0, rel=0.02)


def test_diurnal_profile_is_followed_hour_by_hour() -> None:
    values = [1.0] * 12 + [3.0] * 11 + [0.0]
    spec = {"kind": "diurnal", "rate_rps": 2, "profile": values}
    arrival_s = draw_until(spec, 3 * 86_400, seed())
    hours = np.bincount((arrival_s % 86_400 // 3600).astype(int), minlength=24)
    assert hours[23] == 0
    assert hours[12:23].mean() / hours[:12].mean() == pytest.approx(3.0, rel=0.03)
    assert len(arrival_s) == pytest.approx(2 * 3 * 86_400, rel=0.01)


def test_diurnal_may_begin_within_a_period() -> None:
    spec = "kind=diurnal,rate_rps=2,period_s=100,profile=0:1:1:0"
    arrival_s = draw_until(spec + ",start_s=240", 400, seed())
    phase_s = (arrival_s + 240) % 100
    assert ((phase_s >= 25) & (phase_s <= 75)).all()
    assert arrival_s[0] < 5, "240 s after the start of a period it is in the middle of the third"
    assert len(arrival_s) == pytest.approx(800, rel=0.1)
    with pytest.raises(InputError, match="start_s is -1"):
        draw_n(spec + ",start_s=-1", 3, seed())


def test_inversion_of_a_constant_rate_divides_by_it() -> None:
    unit = inversion.unit_arrivals(np.random.default_rng(1), 1000)
    mapped = inversion.invert_periodic(unit, np.array([10.0, 10.0]), np.array([40.0, 40.0]))
    assert mapped == pytest.approx(unit / 4)


def test_deterministic_fills_a_duration_exactly() -> None:
    assert draw_until("kind=deterministic,rate_rps=20", 3.0, seed())[-1] == 3.0
    assert len(draw_until("kind=deterministic,rate_rps=20", 3.0, seed())) == 60
    assert len(draw_until("kind=deterministic,rate_rps=1000", 30.0, seed())) == 30_000


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("kind=poisson,rate_rps=0", "rate_rps is 0.0; expected above 0"),
        ("kind=poisson", "rate_rps is missing"),
        ("kind=poisson,rate_rps=x", "rate_rps is 'x'"),
        ("kind=poisson,rate_rps=inf", "rate_rps is 'inf'"),
        ("kind=poisson,rate_rps=1,rate_rps=2", "twice"),
        ("kind=poisson,rate=1", "found the key 'rate'"),
        ("poisson", "expected key=value"),
        ("rate_rps=5", "found no kind"),
        ("kind=gamma,rate_rps=-1,cv=0", "2 problems"),
        ("kind=weibull,rate_rps=1,cv=0", "cv is 0.0; expected 0.01 to 1000"),
        ("kind=uniform,low_s=2,high_s=1", "0 <= low_s < high_s"),
        ("kind=on_off,rate_rps=1,on_s=1,off_s=1,off_rate_rps=2", "off_rate_rps is 2.0"),
        ("kind=on_off,rate_rps=1,on_s=1,off_s=1,period_cv=-1", "period_cv is -1.0"),
        ("kind=diurnal,rate_rps=1,depth=2", "depth is 2.0"),
        ("kind=diurnal,rate_rps=1,profile=0:0", "not all 0"),
    ],
)
def test_wrong_specs_say_what_was_found_and_expected(spec: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        draw_n(spec, 10, seed())


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'poisson'"):
        draw_n("kind=poison,rate_rps=1", 10, seed())


@pytest.mark.parametrize("kind", [kind.name for kind in ARRIVALS.values() if kind.needs_n])
def test_a_kind_without_a_rate_refuses_a_duration(kind: str) -> None:
    spec = "kind=burst" if kind == "burst" else f"kind={kind},low_s=0,high_s=1"
    with pytest.raises(InputError, match="give n, not duration_s"):
        draw_until(spec, 10.0, seed())


@pytest.mark.parametrize(
    ("duration_s", "words"), [(-1.0, "expected seconds above 0"), (1e-9, "no request arrives"), (1e12, "more than")]
)
def test_durations_that_cannot_be_filled_are_refused(
    duration_s: float, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wattlane.workload.arrivals.MOST", 10_000)
    with pytest.raises(InputError, match=words):
        draw_until("kind=poisson,rate_rps=1", duration_s, seed())


def test_zero_requests_are_refused() -> None:
    with pytest.raises(InputError, match="n is 0"):
        draw_n("kind=burst", 0, seed())


def test_d12_windowed_release_is_seeded_ordered_and_reaches_the_engine_in_groups() -> None:
    spec = "kind=windowed,window_s=1,base=poisson,rate_rps=8"
    lengths = "kind=fixed,input_tokens=4,output_tokens=2"
    made = generate(arrival=spec, lengths=lengths, n=N, seed=3)
    assert made.notes[0] == f"arrival {spec}"
    assert np.array_equal(made.release_s, np.ceil(made.arrival_s))
    assert np.array_equal(made.release_s, generate(arrival=spec, lengths=lengths, n=N, seed=3).release_s)
    # groups of a Poisson count with mean rate x window; the hold is uniform in the window
    groups = np.bincount(made.release_s.astype(int))[1:-1]
    assert groups.mean() == pytest.approx(8, rel=0.05)
    assert groups.var() == pytest.approx(8, rel=0.1)
    assert (made.release_s - made.arrival_s).mean() == pytest.approx(0.5, abs=0.01)
    assert cv(made.release_s) > 2 > cv(made.arrival_s)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("kind=windowed", "window_s is missing"),
        ("kind=windowed,window_s=0,base=poisson,rate_rps=1", "window_s is 0"),
        ("kind=windowed,window_s=1,base=windowed", "expected another kind"),
        ("kind=windowed,window_s=1,base=,rate_rps=1", "base is ''"),
        ("kind=windowed,window_s=1,base=poisson,cv=2", "found the key 'cv'"),
        ("kind=windowed,window_s=1,base=wave", "unknown arrival kind 'wave'"),
    ],
)
def test_a_wrong_window_is_refused_with_what_is_expected(spec: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        draw_n(spec, 3, seed())


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_window_survives_the_file_and_two_windows_in_one_file_are_refused(tmp_path: Path, suffix: str) -> None:
    made = generate(
        arrival="kind=windowed,window_s=0.5,base=poisson,rate_rps=8",
        lengths="kind=fixed,input_tokens=4,output_tokens=2",
        n=20,
    )
    read = load(write(made, tmp_path / f"held{suffix}")).workload
    assert read.release_window_s == 0.5
    assert read.release_s == pytest.approx(made.release_s)
    assert read.take(np.arange(3), np.zeros(3)).release_window_s == 0.5
    table = _table(made).with_columns(release_window_s=pl.Series([0.5, 1.0] * 10))
    {".csv": table.write_csv, ".jsonl": table.write_ndjson, ".parquet": table.write_parquet}[suffix](
        tmp_path / f"two{suffix}"
    )
    with pytest.raises(FileFormatError, match="release_window_s is not one length"):
        load(tmp_path / f"two{suffix}")


def test_a_workload_refuses_a_window_that_is_no_length() -> None:
    with pytest.raises(InputError, match="release_window_s is -1"):
        Workload(np.zeros(1), np.ones(1), np.ones(1), release_window_s=-1)
