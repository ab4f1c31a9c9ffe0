"""Least squares and analysis of variance: certified and textbook numbers, an independent program, laws of algebra."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattlane.core.errors import InputError
from wattlane.model.statistics.anova import RESIDUAL, type_two
from wattlane.model.statistics.ols import ols
from wattlane.model.statistics.relative import relative_fit

# NIST Statistical Reference Datasets, Longley (1967): y, x1..x6; certified values to 15 digits from the same page.
LONGLEY = np.array(
    [
        [60323, 83.0, 234289, 2356, 1590, 107608, 1947],
        [61122, 88.5, 259426, 2325, 1456, 108632, 1948],
        [60171, 88.2, 258054, 3682, 1616, 109773, 1949],
        [61187, 89.5, 284599, 3351, 1650, 110929, 1950],
        [63221, 96.2, 328975, 2099, 3099, 112075, 1951],
        [63639, 98.1, 346999, 1932, 3594, 113270, 1952],
        [64989, 99.0, 365385, 1870, 3547, 115094, 1953],
        [63761, 100.0, 363112, 3578, 3350, 116219, 1954],
        [66019, 101.2, 397469, 2904, 3048, 117388, 1955],
        [67857, 104.6, 419180, 2822, 2857, 118734, 1956],
        [68169, 108.4, 442769, 2936, 2798, 120445, 1957],
        [66513, 110.8, 444546, 4681, 2637, 121950, 1958],
        [68655, 112.6, 482704, 3813, 2552, 123366, 1959],
        [69564, 114.2, 502601, 3931, 2514, 125368, 1960],
        [69331, 115.7, 518173, 4806, 2572, 127852, 1961],
        [70551, 116.9, 554894, 4007, 2827, 130081, 1962],
    ]
)
CERTIFIED = {
    "beta": [
        -3482258.63459582,
        15.0618722713733,
        -0.358191792925910e-01,
        -2.02022980381683,
        -1.03322686717359,
        -0.511041056535807e-01,
        1829.15146461355,
    ],
    "standard_errors": [
        890420.383607373,
        84.9149257747669,
        0.334910077722432e-01,
        0.488399681651699,
        0.214274163161675,
        0.226073200069370,
        455.478499142212,
    ],
    "residual_sd": 304.854073561965,
    "r2_centred": 0.995479004577296,
    "f_statistic": 330.285339234588,
}
# Breaks of yarn by wool (A, B) and tension (L, M, H), 9 a cell: Tippett 1950, after McNeil 1977 (R's `warpbreaks`).
BREAKS = {
    ("A", "L"): [26, 30, 54, 25, 70, 52, 51, 26, 67],
    ("A", "M"): [18, 21, 29, 17, 12, 18, 35, 30, 36],
    ("A", "H"): [36, 21, 24, 18, 10, 43, 28, 15, 26],
    ("B", "L"): [27, 14, 29, 19, 29, 31, 41, 20, 44],
    ("B", "M"): [42, 26, 19, 16, 39, 28, 21, 39, 29],
    ("B", "H"): [20, 21, 24, 17, 13, 15, 15, 16, 28],
}
WOOL = [wool for (wool, _), values in BREAKS.items() for _ in values]
TENSION = [tension for (_, tension), values in BREAKS.items() for _ in values]
COUNTS = [float(value) for values in BREAKS.values() for value in values]
BOTH = [("a",), ("b",), ("a", "b")]


def longley():
    return ols(np.column_stack([np.ones(len(LONGLEY)), LONGLEY[:, 1:]]), LONGLEY[:, 0], has_constant=True)


@pytest.mark.parametrize("name", CERTIFIED)
def test_longley_has_its_certified_values(name):
    assert getattr(longley(), name) == pytest.approx(CERTIFIED[name], rel=1e-9)


def test_longley_has_the_p_value_of_its_f():
    assert longley().f_p_value == pytest.approx(4.984e-10, rel=1e-3)


def test_two_way_anova_of_the_yarn_has_its_printed_f_and_p():
    """As R's manual prints `aov(breaks ~ wool * tension)`; balanced, so all types agree."""
    wool, tension, both, rest = type_two(COUNTS, {"a": WOOL, "b": TENSION}, BOTH)
    assert [row.dof for row in (wool, tension, both, rest)] == [1, 2, 2, 48]
    assert [round(row.sum_of_squares) for row in (wool, tension, both, rest)] == [451, 2034, 1003, 5745]
    assert [round(row.f_statistic, 3) for row in (wool, tension, both)] == [3.765, 8.498, 4.189]
    assert wool.p_value == pytest.approx(0.058213, abs=5e-7)
    assert tension.p_value == pytest.approx(0.000693, abs=5e-7)
    assert both.p_value == pytest.approx(0.021044, abs=5e-7)
    assert (rest.term, rest.f_statistic, rest.p_value) == (RESIDUAL, None, None)


def unbalanced(seed: int = 0, rows: int = 90):
    rng = np.random.default_rng(seed)
    a, b, c = rng.integers(0, 3, rows), rng.integers(0, 4, rows), rng.integers(0, 2, rows)
    y = 5.0 + a * 2.0 + b * 0.7 + a * b * 0.9 + c + rng.standard_normal(rows)
    return y, {name: [f"{name}{level}" for level in levels] for name, levels in (("a", a), ("b", b), ("c", c))}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # statsmodels' own formula parser
@pytest.mark.slow  # importing statsmodels takes seconds
@pytest.mark.parametrize("extra", [(), ("c",)])
def test_unbalanced_anova_of_type_two_agrees_with_statsmodels(extra):
    api, formula = pytest.importorskip("statsmodels.api"), pytest.importorskip("statsmodels.formula.api")
    y, factors = unbalanced()
    ours = type_two(y, {n: factors[n] for n in ("a", "b", *extra)}, [*((n,) for n in extra), *BOTH])
    text = " + ".join(["y ~ a * b", *extra])
    theirs = api.stats.anova_lm(formula.ols(text, {"y": y, **factors}).fit(), typ=2)
    for row in ours:
        other = theirs.loc[{RESIDUAL: "Residual"}.get(row.term, row.term)]
        assert row.dof == other["df"]
        assert row.sum_of_squares == pytest.approx(other["sum_sq"], rel=1e-9)
        if row.term != RESIDUAL:
            assert row.f_statistic == pytest.approx(other["F"], rel=1e-9)
            assert row.p_value == pytest.approx(other["PR(>F)"], rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("constant", [False, True])
def test_least_squares_agrees_with_statsmodels(constant):
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(7)
    tin, tout = rng.integers(8, 2049, 80).astype(float), rng.integers(8, 2049, 80).astype(float)
    y = -3.9 * tin + 31.5 * tout + 0.0427 * tin * tout + 400 * rng.standard_normal(80)
    columns = [*([np.ones(80)] if constant else []), tin, tout, tin * tout]
    ours = ols(np.column_stack(columns), y, has_constant=constant)
    theirs = api.OLS(y, np.column_stack(columns), hasconst=constant).fit()
    assert ours.beta == pytest.approx(theirs.params, rel=1e-9)
    assert ours.covariance == pytest.approx(theirs.cov_params(), rel=1e-9)
    assert (ours.f_statistic, ours.f_p_value) == pytest.approx((theirs.fvalue, theirs.f_pvalue), rel=1e-9)
    assert ours.p_values == pytest.approx(theirs.pvalues, rel=1e-9)
    centred = 1 - theirs.ssr / ((y - y.mean()) ** 2).sum()
    assert (ours.r2_centred, ours.r2_uncentred) == pytest.approx((centred, 1 - theirs.ssr / (y @ y)), rel=1e-9)
    assert (ours.r2_centred if constant else ours.r2_uncentred) == pytest.approx(theirs.rsquared, rel=1e-9)
    press = theirs.get_influence().resid_press
    assert ours.q2 == pytest.approx(1 - (press**2).sum() / ((y - y.mean()) ** 2).sum(), rel=1e-9)


def test_q2_is_that_of_fits_without_each_row():
    rng = np.random.default_rng(1)
    x = np.column_stack([np.ones(12), rng.standard_normal((12, 2))])
    y = x @ [1.0, 2.0, 3.0] + rng.standard_normal(12)
    left_out = [y[i] - x[i] @ ols(np.delete(x, i, 0), np.delete(y, i), has_constant=True).beta for i in range(len(y))]
    expected = 1 - np.sum(np.square(left_out)) / np.sum((y - y.mean()) ** 2)
    assert ols(x, y, has_constant=True).q2 == pytest.approx(expected, rel=1e-9)


def test_a_perfect_fit_and_a_constant_response_have_their_limits():
    x = np.arange(1.0, 6.0)[:, None]
    assert ols(x, np.zeros(5) + x[:, 0], has_constant=False).r2_uncentred == pytest.approx(1.0)
    flat = ols(x, np.ones(5), has_constant=False)
    assert math.isnan(flat.r2_centred)
    assert math.isnan(flat.q2)
    exact = ols(np.ones((4, 1)), np.ones(4), has_constant=False)
    assert (exact.f_statistic, exact.f_p_value) == (math.inf, 0.0)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_sums_of_squares_add_up_when_every_cell_has_the_same_count(seed):
    rng = np.random.default_rng(seed)
    a, b = np.repeat(np.arange(3), 8), np.tile(np.repeat(np.arange(4), 2), 3)
    y = rng.standard_normal(24) * 10
    rows = type_two(y, {"a": a.tolist(), "b": b.tolist()}, BOTH)
    assert sum(row.sum_of_squares for row in rows) == pytest.approx(((y - y.mean()) ** 2).sum(), rel=1e-9)
    assert sum(row.dof for row in rows) == 23


def test_a_factor_hidden_in_another_explains_nothing_of_its_own():
    y, factors = unbalanced()
    same = {"a": factors["a"], "copy": factors["a"]}
    _, copy, _ = type_two(y, same, [("a",), ("copy",)])
    assert (copy.dof, copy.sum_of_squares, copy.p_value) == (0, 0.0, None)


def test_tables_no_analysis_can_judge_are_refused():
    with pytest.raises(InputError, match="expected repeats"):
        type_two([1.0, 2.0, 3.0, 4.0], {"a": [0, 0, 1, 1], "b": [0, 1, 0, 1]}, BOTH)
    with pytest.raises(InputError, match="4 problems"):
        type_two([1.0, 2.0], {"a": [0, 0], "b": [1]}, [("a",), ("c",)])
    with pytest.raises(InputError, match="found 2 rows"):
        ols(np.ones((2, 2)), np.ones(2), has_constant=False)
    with pytest.raises(InputError, match="do not tell 2 terms apart"):
        ols(np.ones((5, 2)), np.ones(5), has_constant=False)


def grid_rows():
    tin, tout = (a.ravel() for a in np.meshgrid([8.0, 64.0, 512.0, 2048.0], [8.0, 64.0, 512.0, 2048.0]))
    return np.column_stack([tin, tout, tin * tout])


def test_relative_fit_recovers_a_law_whatever_its_scale():
    x = grid_rows()
    beta = np.array([0.02, 3.0, 1e-4])
    for scale in (1e-6, 1.0, 1e6):
        found = relative_fit(x, scale * (x @ beta))
        assert found.beta == pytest.approx(scale * beta, rel=1e-6)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_relative_fit_is_never_negative_and_no_corner_of_it_is_better(seed):
    """The Karush-Kuhn-Tucker conditions: the gradient is 0 where β > 0 and not below 0 where β = 0."""
    rng = np.random.default_rng(seed)
    x, y = grid_rows(), np.exp(rng.normal(5, 2, 16))
    found = relative_fit(x, y)
    assert np.all(found.beta >= 0)
    scaled = x / y[:, None]
    gradient = scaled.T @ found.residual / np.linalg.norm(scaled, axis=0)
    assert np.all(np.abs(gradient[found.beta > 0]) < 1e-7)
    assert np.all(gradient[found.beta == 0] > -1e-7)


def test_robust_fit_shrugs_off_spoilt_runs_and_the_plain_one_does_not():
    rng = np.random.default_rng(2)
    x = np.repeat(grid_rows(), 3, axis=0)
    y = x @ [0.02, 3.0, 1e-4] * np.exp(0.02 * rng.standard_normal(len(x)))
    y[::12] *= 0.2
    plain, robust = relative_fit(x, y), relative_fit(x, y, robust=True)
    assert robust.beta[1] == pytest.approx(3.0, rel=0.05)
    assert abs(plain.beta[1] - 3.0) > 3 * abs(robust.beta[1] - 3.0)
    assert robust.relative_sd > 0.2  # the spoilt runs stay in what a new run may be off by


def test_robust_and_plain_agree_on_a_perfect_fit_and_bad_rows_are_refused():
    x = grid_rows()
    y = x @ [0.02, 3.0, 1e-4]
    assert relative_fit(x, y, robust=True).beta == pytest.approx(relative_fit(x, y).beta)
    with pytest.raises(InputError, match="1 values that are not above 0"):
        relative_fit(x, np.where(np.arange(16) == 3, 0.0, y))
    with pytest.raises(InputError, match="found 3 rows"):
        relative_fit(x[:3], y[:3])


@pytest.mark.parametrize("robust", [False, True])
def test_covariance_of_the_relative_fit_says_how_far_coefficients_scatter(robust):
    rng = np.random.default_rng(5)
    x, beta = grid_rows(), np.array([1.0, 3.0, 1e-3])
    fits = [relative_fit(x, x @ beta * (1 + 0.05 * rng.standard_normal(16)), robust=robust) for _ in range(300)]
    seen = np.std([fit.beta for fit in fits], axis=0)
    said = np.sqrt(np.mean([np.diag(fit.covariance) for fit in fits], axis=0))
    assert said == pytest.approx(seen, rel=0.2)
