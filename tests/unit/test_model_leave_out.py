"""Errors of what was left out, and the widths of intervals that rest on them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from phase_rows import B200, near, synthetic

from wattlane.model.fit_phase import (
    Table,
    fit_phase,
    table,
)
from wattlane.model.leave_out import (
    OWN_GROUPS,
    calibrated,
    calibration_rows,
    columns,
    coverage,
    group_sd,
    half_width,
    left_out,
    nested,
    parametric_sd,
    platform_left_out,
    within_sd,
)


def test_left_out_errors_show_the_group_that_is_off_and_only_that() -> None:
    rows = table([synthetic(noise=0.0, bias={"Qwen3-14B": 0.3})[::3]])
    fit = fit_phase(rows, [near(0.1)])
    out = left_out(rows, [near(0.1)], start=fit)
    off = rows.group == "Qwen3-14B"
    assert np.median(out[off, 1]) < -0.2
    assert np.median(np.abs(out[~off, 1])) < 0.15
    assert group_sd(out, rows.group)[1] > 0.1
    assert np.isfinite(parametric_sd(fit, rows)).all()
    assert (parametric_sd(fit, rows) >= 0).all()


def test_nested_widths_of_a_group_do_not_depend_on_its_own_rows() -> None:
    widths = []
    for bias in (0.0, 0.5):
        rows = table([synthetic(noise=0.0, bias={"Qwen3-14B": bias})[::16], []])
        found = nested(rows, [near(0.1), near(0.1)])
        widths.append(found.group_sd[rows.group == "Qwen3-14B"])
        assert np.isinf(found.half_width).all()  # four groups are too few for 90 %
    assert widths[0] == pytest.approx(widths[1], rel=1e-4)


def test_gpu_left_out_is_predicted_from_the_other_one() -> None:
    rows = table([synthetic(noise=0.0)[::8], synthetic(noise=0.0, board=B200)[::8]])
    out = platform_left_out(rows, [near(0.1), near(0.1)])
    assert np.median(np.abs(out)) < 0.15


def test_conformal_width_covers_a_new_group_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    hits = []
    for _ in range(400):
        groups = np.repeat(np.arange(21), 5)
        errors_ = 0.1 * rng.standard_normal(21)[groups] + 0.05 * rng.standard_normal(len(groups))
        names = groups.astype(str)
        width = half_width(np.abs(errors_[groups < 20]), names[groups < 20])
        hits.append(np.mean(np.abs(errors_[groups == 20]) <= width))
    assert 0.87 < np.mean(hits) < 0.97


def test_too_few_groups_give_no_bound() -> None:
    groups = np.array([f"g{i}" for i in range(9)])
    assert math.isinf(half_width(np.ones(8), groups[:8]))
    assert half_width(np.arange(9.0), groups) == 8.0
    platform = np.zeros(9, dtype=np.intp)
    assert calibration_rows(platform, groups, 0).all()
    mixed = np.array([0] * 5 + [1] * 4)
    assert calibration_rows(mixed, groups, 0).all()  # five are too few: all calibrate
    assert not calibration_rows(platform, groups, 0, "g3")[3]


def two_platforms(of_second: int) -> Table:
    """Rows of 14 groups on one platform and of some of them on another; only the columns that calibration reads."""
    points = synthetic(noise=0.0)[:1] * 56
    found = table([points[: 56 - 4 * of_second], points[56 - 4 * of_second :]])
    names = [f"g{i:02d}" for i in (*range(14 - of_second), *range(of_second))]
    return replace(found, group=np.repeat(names, 4))


def test_a_platform_of_many_groups_calibrates_itself_and_one_of_few_borrows_scores_not_scale() -> None:
    rng = np.random.default_rng(0)
    rows = two_platforms(2)
    assert len(np.unique(rows.group[rows.platform == 0])) == OWN_GROUPS
    small = np.where(rows.platform == 1, 3.0, 1.0)[:, None]
    out = small * rng.standard_normal((56, 3))
    own, units = calibrated(out, rows, 0)
    first = rows.platform == 0
    assert own == pytest.approx([half_width(np.abs(out[first, j]), rows.group[first]) for j in range(3)])
    assert units == OWN_GROUPS
    pooled, units = calibrated(out, rows, 1)
    assert units == OWN_GROUPS + 2
    # errors three times as large on the platform asked: its widths follow, those of the other stay as they are
    again, _ = calibrated(np.where(rows.platform[:, None] == 1, 2.0, 1.0) * out, rows, 1)
    assert again == pytest.approx(2.0 * pooled, rel=1e-9)
    slow = replace(rows, slow=np.where(np.arange(56) == 55, 1.0, 0.0))
    far = out.copy()
    far[55] = 99.0
    assert np.isfinite(calibrated(far, slow, 1)[0]).all()
    assert calibrated(far, slow, 1)[0].max() < 20.0


def test_the_scored_group_is_not_looked_at() -> None:
    rows = two_platforms(2)
    out = np.random.default_rng(1).standard_normal((56, 3))
    held = np.where((rows.group == "g00")[:, None], np.nan, out)
    assert np.isfinite(calibrated(held, rows, 1, "g00")[0]).all()


def test_spread_within_groups_knows_nothing_of_their_means() -> None:
    groups = np.repeat(["a", "b"], 3)
    out = np.repeat([[5.0], [-5.0]], 3, axis=0) + np.array([[-1.0], [0.0], [1.0]] * 2)
    assert within_sd(np.repeat(out, 3, axis=1), groups) == pytest.approx([math.sqrt(2.0 / 3.0)] * 3)


def test_coverage_counts_rows_and_resamples_groups() -> None:
    errors_ = np.array([0.0, 0.0, 0.5, 0.5])
    found = coverage(errors_, np.full(4, 0.1), np.array(["a", "a", "b", "b"]))
    assert found.covered == 0.5
    assert (found.lo, found.hi) == (0.0, 1.0)
    assert found.median_half_width == pytest.approx(np.expm1(0.1))


def test_columns_are_power_gap_and_their_product() -> None:
    assert columns(np.array([0.1]), np.array([0.2]))[0] == pytest.approx([0.2, 0.1, 0.3])
