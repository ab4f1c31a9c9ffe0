"""What holds for every arrival process and every length distribution, whatever its parameters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattlane.core.workload import Workload
from wattlane.workload.arrivals import ARRIVALS
from wattlane.workload.generation import generate
from wattlane.workload.lengths.drawn import within

RATE = st.floats(0.01, 1000)
CV = st.floats(0.05, 10)
SPECS = st.one_of(
    st.just({"kind": "burst"}),
    st.fixed_dictionaries({"kind": st.sampled_from(["deterministic", "poisson", "diurnal"]), "rate_rps": RATE}),
    st.fixed_dictionaries({"kind": st.sampled_from(["gamma", "weibull"]), "rate_rps": RATE, "cv": CV}),
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["uniform", "delavande_legacy"]),
            "low_s": st.floats(0, 1),
            "high_s": st.floats(1.01, 5),
        }
    ),
    st.fixed_dictionaries(
        {"kind": st.just("windowed"), "base": st.just("poisson"), "rate_rps": RATE, "window_s": st.floats(1e-3, 60)}
    ),
    st.fixed_dictionaries(
        {
            "kind": st.just("on_off"),
            "rate_rps": RATE,
            "on_s": st.floats(0.1, 60),
            "off_s": st.floats(0.1, 60),
            "period_cv": st.floats(0, 2),
        }
    ),
)
LENGTHS = "kind=lognormal,input_mean_tokens=900,input_sd_tokens=1200,output_median_tokens=80,output_sigma=1.1"


def same(one: Workload, other: Workload) -> bool:
    columns = ("arrival_s", "input_tokens", "output_tokens", "cached_tokens")
    return all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in columns)


@settings(max_examples=60, deadline=None)
@given(spec=SPECS, n=st.integers(1, 300), seed=st.integers(0, 2**32))
def test_every_process_gives_n_ascending_arrivals_and_the_same_bytes_for_the_same_seed(
    spec: dict[str, object], n: int, seed: int
) -> None:
    made = generate(n=n, arrival=spec, lengths=LENGTHS, seed=seed)
    assert len(made) == n
    assert (np.diff(made.arrival_s) >= 0).all()
    assert made.arrival_s[0] >= 0
    assert same(made, generate(n=n, arrival=spec, lengths=LENGTHS, seed=seed))


@settings(max_examples=60, deadline=None)
@given(
    spec=SPECS.filter(lambda spec: spec["kind"] != "windowed"), window_s=st.floats(1e-3, 60), seed=st.integers(0, 99)
)
def test_windowed_release_holds_each_request_of_any_process_to_the_end_of_its_window(
    spec: dict[str, object], window_s: float, seed: int
) -> None:
    held = {**spec, "kind": "windowed", "base": spec["kind"], "window_s": window_s}
    plain = generate(n=50, arrival=spec, lengths=LENGTHS, seed=seed)
    made = generate(n=50, arrival=held, lengths=LENGTHS, seed=seed)
    assert same(made, plain)
    assert (np.diff(made.release_s) >= 0).all()
    held_s = made.release_s - made.arrival_s
    assert held_s.min() >= 0
    assert held_s.max() <= window_s * (1 + 1e-9)
    assert np.abs(np.round(made.release_s / window_s) - made.release_s / window_s).max() <= 1e-6
    assert plain.release_s is plain.arrival_s


def test_the_property_above_covers_every_kind() -> None:
    named = {
        "burst",
        "deterministic",
        "poisson",
        "diurnal",
        "gamma",
        "weibull",
        "uniform",
        "delavande_legacy",
        "on_off",
        "windowed",
    }
    assert named == set(ARRIVALS)


@pytest.mark.parametrize("kind", ["gamma", "weibull"])
@pytest.mark.parametrize("cv", [0.2, 0.7, 1.0, 1.8])
def test_d12_renewal_processes_have_the_rate_and_the_cv_asked_for(kind: str, cv: float) -> None:
    made = generate(
        n=100_000, arrival=f"kind={kind},rate_rps=4,cv={cv}", lengths="kind=fixed,input_tokens=1,output_tokens=1"
    )
    gaps_s = np.diff(made.arrival_s)
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(cv, rel=0.04)
    assert made.rate_rps == pytest.approx(4, rel=0.02)


@settings(max_examples=40, deadline=None)
@given(rate_rps=st.floats(1, 50), duration_s=st.floats(50, 500), seed=st.integers(0, 1000))
def test_a_duration_holds_all_its_arrivals_and_about_the_rate(rate_rps: float, duration_s: float, seed: int) -> None:
    made = generate(
        duration_s=duration_s, arrival={"kind": "poisson", "rate_rps": rate_rps}, lengths=LENGTHS, seed=seed
    )
    expected = rate_rps * duration_s
    assert made.arrival_s[-1] <= duration_s
    assert abs(len(made) - expected) < 6 * np.sqrt(expected)


def test_changing_the_arrivals_leaves_the_lengths_as_they_were() -> None:
    one = generate(n=50, arrival="kind=burst", lengths=LENGTHS, seed=5)
    other = generate(n=50, arrival="kind=poisson,rate_rps=3", lengths=LENGTHS, seed=5)
    assert np.array_equal(one.input_tokens, other.input_tokens)
    assert not np.array_equal(one.arrival_s, other.arrival_s)
    assert not np.array_equal(
        one.input_tokens, generate(n=50, arrival="kind=burst", lengths=LENGTHS, seed=6).input_tokens
    )


@given(
    low=st.integers(1, 10**6),
    width=st.integers(0, 10**6),
    spacing=st.sampled_from(["log", "uniform"]),
    seed=st.integers(0, 99),
)
def test_tokens_stay_within_their_range(low: int, width: int, spacing: str, seed: int) -> None:
    lows, highs = np.full(20, low), np.full(20, low + width)
    drawn = within(np.random.default_rng(seed), lows, highs, spacing)
    assert (drawn >= lows).all()
    assert (drawn <= highs).all()
