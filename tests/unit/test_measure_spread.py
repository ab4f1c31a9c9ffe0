"""Student intervals against scipy, and by coverage on synthetic repeats."""

from __future__ import annotations

import numpy as np
import pytest

from wattlane.measure.spread import repeats_to_show, spread, t_quantile, t_within

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 8, 9, 24, 31, 100, 999])
def test_quantiles_equal_those_of_scipy(df):
    for level in (0.5, 0.9, 0.95, 0.99):
        assert t_quantile(level, df) == pytest.approx(stats.t.ppf((1 + level) / 2, df), rel=1e-9)
    assert t_within(2.0, df) == pytest.approx(1 - 2 * stats.t.sf(2.0, df), rel=1e-12)


def test_d16_intervals_cover_93_to_97_percent_for_five_repeats():
    drawn = np.random.default_rng(1).normal(10.0, 2.0, (4000, 5))
    found = [spread(row.tolist()) for row in drawn]
    assert 0.93 <= np.mean([one.lo <= 10.0 <= one.hi for one in found]) <= 0.97


def test_one_value_has_no_interval_and_none_no_mean():
    one = spread([3.0])
    assert (one.mean, one.lo, one.sd, one.half_width) == (3.0, None, None, None)
    assert spread([]) is None


def test_the_repeats_said_to_decide_show_the_difference_in_four_of_five_attempts():
    n = repeats_to_show(0.5, 1.0)
    drawn = np.random.default_rng(2).normal(0.5, 1.0, (3000, n))
    shown = np.mean([spread(row.tolist()).lo > 0 for row in drawn])
    assert 0.76 <= shown <= 0.84
    assert repeats_to_show(0.0, 1.0) is None
    assert repeats_to_show(1e-6, 1.0) is None
    assert repeats_to_show(1.0, 0.0) == 2
