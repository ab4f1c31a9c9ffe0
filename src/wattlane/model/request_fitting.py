"""Fit the sides of a law of whole requests.

ols        squared errors, as published; may go below zero
relative   errors as shares, coefficients never negative
robust     the same with Huber weights: a few spoilt runs hardly matter
pooled     near an earlier law, for few runs of a new system
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.model.observations import Observations
from wattlane.model.request_law import TOKENS, Quality, RequestFit, Side, Vector, design
from wattlane.model.statistics.ols import ols
from wattlane.model.statistics.pooled import pooled_fit
from wattlane.model.statistics.relative import relative_fit

METHODS = ("ols", "relative", "robust", "pooled")


def fit_side(
    table: Observations,
    response: str,
    terms: Sequence[str],
    method: str,
    intercept: bool,
    earlier: RequestFit | None = None,
) -> Side:
    """Fit one response ("energy_j" or "runtime_s") on `terms`; `earlier` is the law that `pooled` starts from.

    Raises:
        UnknownNameError: no such method.
        InputError: too few rows, token counts that do not tell the terms apart, an intercept in a relative fit, or
            `pooled` without an earlier law of the same terms.
    """
    if method not in METHODS:
        raise UnknownNameError("method of fitting", method, METHODS)
    if method == "pooled" or earlier is not None:
        return _pooled(table, response, terms, method, earlier)
    x = design(table.input_tokens, table.output_tokens, intercept, terms)
    y: Vector = getattr(table, response)
    if method == "ols":
        found = ols(x, y, has_constant=intercept)
        beta, covariance, spread = found.beta, found.covariance, found.residual_sd
        left_out = found.residual / np.maximum(1.0 - found.leverage, 1e-12)
        tested = found.f_statistic
    else:
        if intercept:
            raise InputError(f"found an intercept with method {method}; expected none: a request of no tokens is none")
        ols(x, y, has_constant=False)  # the same refusals: rows, and terms that can be told apart
        close = relative_fit(x, y, robust=method == "robust")
        beta, covariance, spread = close.beta, close.covariance, close.relative_sd
        left_out = -close.residual * y / np.maximum(1.0 - close.leverage, 1e-12)
        tested = math.nan
    quality = _quality(y, x @ beta, left_out, tested)
    first, rest = (float(beta[0]), beta[1:]) if intercept else (None, beta)
    coefficients = tuple(float(value) for value in rest)
    return Side(coefficients, first, covariance, spread, len(y), quality, tuple(terms), method != "ols")


def _pooled(table: Observations, response: str, terms: Sequence[str], method: str, earlier: RequestFit | None) -> Side:
    before = None if earlier is None else earlier.sides[response]
    if before is None or method != "pooled":
        raise InputError(
            f"found method {method} and {'no' if before is None else 'an'} earlier law; expected both or none"
        )
    if before.terms != tuple(terms) or before.intercept is not None or not before.relative:
        raise InputError(
            f"found an earlier law of {', '.join(before.terms)}; expected {', '.join(terms)} without intercept, fitted "
            "on relative errors"
        )
    assert before.residual_sd is not None
    assert before.rows is not None
    x = design(table.input_tokens, table.output_tokens, False, terms)
    y: Vector = getattr(table, response)
    found = pooled_fit(x, y, np.array(before.coefficients), before.residual_sd)
    off = 1.0 / (1.0 + found.residual) - 1.0
    # what both sets of runs say of the noise, each by its number
    spread = math.sqrt((before.dof * before.residual_sd**2 + float(off @ off)) / (before.dof + len(y)))
    quality = _quality(y, x @ found.beta, -found.residual * y, math.nan)
    rows = before.rows + len(y)
    coefficients = tuple(float(value) for value in found.beta)
    return Side(coefficients, None, found.covariance, spread, rows, quality, tuple(terms), relative=True)


def _quality(y: Vector, fitted: Vector, left_out: Vector, tested: float) -> Quality:
    rss, about_zero = float(((y - fitted) ** 2).sum()), float(y @ y)
    about_mean = float(((y - y.mean()) ** 2).sum())
    relative = np.abs(fitted - y) / np.abs(y)
    varies = about_mean > 0
    return Quality(
        r2_uncentred=1.0 - rss / about_zero,
        r2_centred=1.0 - rss / about_mean if varies else math.nan,
        q2=1.0 - float(left_out @ left_out) / about_mean if varies else math.nan,
        f_statistic=tested,
        mape=float(relative.mean()),
        median_ape=float(np.median(relative)),
        negative_predictions=int(np.sum(fitted < 0)),
    )


def fitted_range(table: Observations) -> dict[str, tuple[float, float]]:
    """Return the lowest and highest token counts of the rows."""
    return {name: (float(getattr(table, name).min()), float(getattr(table, name).max())) for name in TOKENS}
