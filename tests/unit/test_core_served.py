"""Served rows: percentiles over completed requests, attainment over offered ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from wattlane.core.errors import FileFormatError
from wattlane.core.served import COLUMNS, judged_gap_s, latency, read_served, write_served
from wattlane.core.types import Outcome, Slo

SLO = Slo(ttft_s=1.0, tbt_s=0.1)


def row(request_id: int, ttft_s: float = 0.5, gaps_s: tuple[float, ...] = (0.05, 0.06), **other: Any) -> dict[str, Any]:
    arrival_s = 10.0 * request_id
    return {
        "request_id": request_id,
        "class": "chat",
        "arrival_s": arrival_s,
        "release_s": arrival_s + 0.1,
        "first_token_s": arrival_s + ttft_s,
        "end_s": arrival_s + ttft_s + sum(gaps_s),
        "input_tokens": 10,
        "cached_tokens": 0,
        "output_tokens": len(gaps_s) + 1,
        "outcome": "completed",
        "replica": 0,
        "prefill_j": 1.0,
        "decode_j": 2.0,
        "idle_j": 0.0,
        "gaps_s": list(gaps_s),
    } | other


def table(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema_overrides={"gaps_s": pl.List(pl.Float32)})


def failure(request_id: int, outcome: str) -> dict[str, Any]:
    lost = dict.fromkeys(("first_token_s", "end_s", "prefill_j", "decode_j", "idle_j"))
    return row(request_id, gaps_s=(), outcome=outcome, **lost)


def test_largest_gap_judges_below_100_gaps_and_p99_from_there() -> None:
    for gaps in (1, 2, 99):
        assert judged_gap_s(np.array([0.01] * (gaps - 1) + [9.0])) == 9.0
    for gaps in (100, 101, 1000):
        values = np.array([0.01] * (gaps - 1) + [9.0])
        assert judged_gap_s(values) == pytest.approx(np.quantile(values, 0.99))
        assert judged_gap_s(values) < 9.0
    assert judged_gap_s(np.array([])) == 0.0


@pytest.mark.parametrize(("gaps", "attains"), [(99, False), (100, True), (101, True)])
def test_one_stall_is_forgiven_from_100_gaps_on(gaps: int, attains: bool) -> None:
    # With 100 gaps the p99 lies 1 % of the way to the largest gap: 0.01 + 0.01 × (1 − 0.01) is below 0.1.
    served = table(row(0, gaps_s=(0.01,) * (gaps - 1) + (1.0,)))
    assert latency(served, SLO).slo_attainment == float(attains)


def test_percentiles_are_over_completed_requests_and_all_their_gaps() -> None:
    result = latency(table(row(0, 0.2, (0.1, 0.3)), row(1, 0.4, (0.2,)), failure(2, "failed")), Slo(1.0, 1.0))
    assert (result.requests, result.failed) == (3, 1)
    assert result.ttft_p50_s == pytest.approx(0.3)
    assert result.ttft_p99_s == pytest.approx(0.398)
    assert result.tbt_p50_s == pytest.approx(0.2)
    assert result.tbt_p99_s == pytest.approx(0.298)
    assert result.e2e_p50_s == pytest.approx(0.6)
    assert result.e2e_p99_s == pytest.approx(0.6)


def test_ttft_counts_from_arrival_hold_time_included() -> None:
    assert latency(table(row(0, ttft_s=0.9, release_s=0.85)), SLO).slo_attainment == 1.0
    assert latency(table(row(0, ttft_s=1.1, release_s=1.05)), SLO).slo_attainment == 0.0


@pytest.mark.parametrize("outcome", [one.value for one in Outcome if one is not Outcome.COMPLETED])
def test_failures_are_misses(outcome: str) -> None:
    result = latency(table(row(0), row(1), row(2), failure(3, outcome)), SLO)
    assert result.slo_attainment == 0.75
    assert result.failed == 1


def test_targets_are_inclusive_and_both_must_be_met() -> None:
    served = table(row(0, 1.0, (0.0625,)), row(1, 1.01, (0.01,)), row(2, 0.1, (0.11,)), row(3, 0.1, ()))
    assert latency(served, Slo(1.0, 0.0625)).slo_attainment == 0.5


def test_nothing_completed_has_absent_percentiles_not_zero() -> None:
    result = latency(table(failure(0, "refused"), failure(1, "failed")), SLO)
    assert result == (2, 2, None, None, None, None, None, None, 0.0)


def test_single_token_answers_have_no_gap_percentiles() -> None:
    result = latency(table(row(0, gaps_s=())), SLO)
    assert result.tbt_p50_s is None
    assert result.slo_attainment == 1.0


def test_file_is_sorted_keeps_extra_columns_and_absent_energy(tmp_path: Path) -> None:
    path = tmp_path / "served.parquet"
    served = table(row(1), failure(0, "failed")).with_columns(tenant=pl.lit("a"))
    write_served(path, served.select(reversed(served.columns)))
    back = read_served(path)
    assert back.columns == [*COLUMNS, "tenant"]
    assert back["request_id"].to_list() == [0, 1]
    assert back["prefill_j"].to_list() == [None, 1.0]
    served.drop("gaps_s", "idle_j").write_parquet(path)
    with pytest.raises(FileFormatError, match="missing columns idle_j, gaps_s"):
        read_served(path)
