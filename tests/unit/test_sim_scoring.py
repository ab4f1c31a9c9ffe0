"""Attainment read off the running record, where the p99 of many gaps decides."""

from __future__ import annotations

import numpy as np
import pytest

from wattlane.core.served import MANY_GAPS, judged_gap_s
from wattlane.sim import scoring


def record_of(gaps_s: np.ndarray) -> np.ndarray:
    ends = np.concatenate([[1.0], 1.0 + np.cumsum(gaps_s)])
    return np.column_stack([ends - 0.5, ends, np.ones_like(ends), np.zeros_like(ends)])


def met(gaps_s: np.ndarray, tbt_s: float, ttft_s: float = 10.0) -> bool:
    requests = np.array([[5, 0, len(gaps_s) + 1]])
    found = scoring.attains(record_of(gaps_s), np.zeros(1, np.int64), np.zeros(1), requests, ttft_s, tbt_s)
    return bool(found[0])


@pytest.mark.parametrize("gaps", [0, 1, 2, MANY_GAPS - 1, MANY_GAPS, MANY_GAPS + 1, 150, 201, 999])
@pytest.mark.parametrize("slow", [0, 1, 2, 3, 10])
def test_request_is_judged_as_core_judges_it(gaps: int, slow: int) -> None:
    rng = np.random.default_rng(gaps * 100 + slow)
    gaps_s = rng.uniform(0.01, 0.02, gaps)
    gaps_s[rng.permutation(gaps)[: min(slow, gaps)]] = rng.uniform(0.1, 0.3, min(slow, gaps))
    as_stored = np.diff(record_of(gaps_s)[:, 1])
    for tbt_s in (0.005, 0.015, 0.05, 0.1, 0.2, 0.31, judged_gap_s(as_stored) + 1e-12):
        assert met(gaps_s, tbt_s) == (judged_gap_s(as_stored) <= tbt_s)


def test_p99_between_a_gap_that_meets_and_one_that_misses_is_interpolated() -> None:
    gaps_s = np.full(101, 0.01)
    gaps_s[50] = 0.11  # the second largest gap is the p99 of 101: position 99
    assert met(gaps_s, 0.02)
    gaps_s = np.full(151, 0.01)
    gaps_s[[3, 70]] = 0.11  # position 148.5: half way between 0.01 and 0.11
    assert met(gaps_s, 0.0601)
    assert not met(gaps_s, 0.0599)


def test_late_first_token_is_a_miss_whatever_the_gaps() -> None:
    assert met(np.full(3, 0.01), 0.1, ttft_s=1.0)
    assert not met(np.full(3, 0.01), 0.1, ttft_s=0.999)


def test_histogram_counts_every_gap_and_clamps_what_is_out_of_range() -> None:
    gaps_s = np.array([1e-7, 0.01, 0.02, 1e6])
    counts = np.zeros(scoring.BINS, np.int64)
    scoring.gap_histogram(record_of(gaps_s), np.array([0, 3, 2, 0, 1]), counts)
    assert counts.sum() == 6
    assert counts[0] == 3
    assert counts[-1] == 1
    assert scoring.histogram_quantile_s(counts, 0.7) == pytest.approx(0.01, rel=6e-3)
    assert scoring.histogram_quantile_s(counts * 0, 0.7) == 0.0
