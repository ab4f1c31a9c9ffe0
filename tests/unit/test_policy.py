"""Policies as plain functions, and the same compiled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattlane.policy.release import immediate, windowed
from wattlane.policy.route import round_robin
from wattlane.sim import dispatch

times = st.floats(0.0, 1e6)
windows = st.floats(1e-3, 10.0)


def test_immediate_release_holds_nothing() -> None:
    assert immediate(3.25, 1.0) == 3.25


@pytest.mark.parametrize(
    ("arrival_s", "window_s", "released_s"),
    [(0.0, 0.5, 0.0), (0.1, 0.5, 0.5), (0.5, 0.5, 0.5), (0.51, 0.5, 1.0), (0.7, 0.0, 0.7), (0.7, -1.0, 0.7)],
)
def test_window_releases_at_its_next_multiple(arrival_s: float, window_s: float, released_s: float) -> None:
    assert windowed(arrival_s, window_s) == released_s


@given(times, windows)
def test_window_never_releases_early_nor_holds_longer_than_itself(arrival_s: float, window_s: float) -> None:
    released_s = windowed(arrival_s, window_s)
    assert arrival_s <= released_s <= arrival_s + window_s * (1 + 1e-9)


@given(st.lists(times, min_size=2, max_size=20), windows)
def test_window_keeps_the_order_of_arrival(arrivals_s: list[float], window_s: float) -> None:
    released = [windowed(arrival_s, window_s) for arrival_s in sorted(arrivals_s)]
    assert released == sorted(released)


def test_window_never_releases_before_an_arrival_that_rounds_down_onto_a_multiple() -> None:
    window_s = 0.1
    arrival_s = np.nextafter(3 * window_s, 1.0)
    assert windowed(float(arrival_s), window_s) >= arrival_s


@given(st.integers(1, 9), st.integers(0, 50))
def test_round_robin_differs_by_at_most_one_request(replicas: int, requests: int) -> None:
    counts = np.bincount([round_robin(i, replicas) for i in range(requests)], minlength=replicas)
    assert counts.max(initial=0) - counts.min(initial=requests) <= 1


@settings(deadline=None)  # the first call may compile
@given(st.lists(times, min_size=1, max_size=20), windows, st.integers(1, 5))
def test_compiled_policies_decide_as_the_plain_ones(arrivals_s: list[float], window_s: float, replicas: int) -> None:
    arrival_s = np.array(arrivals_s)
    held = dispatch.release_times(dispatch.WINDOWED, window_s, arrival_s)
    assert held.tolist() == [windowed(a, window_s) for a in arrivals_s]
    assert dispatch.release_times(dispatch.IMMEDIATE, window_s, arrival_s).tolist() == arrivals_s
    routes = dispatch.routes(replicas, len(arrivals_s))
    assert routes.tolist() == [round_robin(i, replicas) for i in range(len(arrivals_s))]
