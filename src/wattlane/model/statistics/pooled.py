"""Few runs of a new system, shrunk towards a law fitted elsewhere: coefficients are pooled, the overall scale is free.

    minimise Σ ((x_i β − y_i) / (σ y_i))² + Σ_j ((β_j − s β0_j) / (τ s β0_j))²,  β ≥ 0

s is the median of y / xβ0 over the new runs: a faster GPU or a leaner engine costs one factor less throughout. What is
left differs by coefficient, by τ of it; the default lets a coefficient be half or one and a half times what it was. A
coefficient of 0 in the earlier law is held to a tenth of a typical run. One run moves the scale, a few the
coefficients they speak of, many make the earlier law irrelevant. Source: ridge towards a prior mean, as in Gelman &
Hill, Data Analysis Using Regression and Multilevel Models, ch. 12 (partial pooling).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.core.extras import require

Vector = NDArray[np.float64]
TAU = 0.5
ABSENT_SHARE = 0.1


@dataclass(frozen=True, eq=False, slots=True)
class PooledFit:
    """`beta` (p,) ≥ 0, `covariance` (p, p), `residual` (n,) = (xβ − y) / y, and the overall `scale` s."""

    beta: Vector
    covariance: Vector
    residual: Vector
    scale: float


def pooled_fit(x: Vector, y: Vector, prior: Vector, noise: float, tau: float = TAU) -> PooledFit:
    """Fit `y` (n,), all above 0, on `x` (n, p), near the coefficients `prior` (p,) up to one factor.

    `noise` is σ, the relative error of a run, as the earlier law found it.

    Raises:
        InputError: no run, values that are not above 0, or a prior that gives them no energy or time.
        MissingExtraError: scipy is not installed.
    """
    expected = x @ prior
    if not (len(y) and np.all(y > 0) and np.all(expected > 0) and noise > 0):
        raise InputError(
            f"found {len(y)} runs, {int(np.sum(~(expected > 0)))} of them below zero by the earlier law; expected at "
            "least one run, and an earlier law that is never negative (--method relative or --law cache_aware)"
        )
    scale = float(np.exp(np.median(np.log(y / expected))))
    known = prior > 0
    unit = np.where(known, scale * prior, 1.0 / np.median(x / y[:, None], axis=0))
    wide = np.where(known, tau, ABSENT_SHARE)
    rows = np.vstack([x / y[:, None] / noise, np.diag(1.0 / (wide * unit))])
    target = np.concatenate([np.full(len(y), 1.0 / noise), np.where(known, 1.0 / wide, 0.0)])
    norms = np.linalg.norm(rows, axis=0)
    found, _ = require("scipy.optimize").nnls(rows / norms, target)
    free = found > 0
    covariance = np.zeros((len(prior), len(prior)))
    part = (rows / norms)[:, free]
    covariance[np.ix_(free, free)] = np.linalg.inv(part.T @ part)
    beta = np.asarray(found, dtype=float) / norms
    return PooledFit(beta, covariance / np.outer(norms, norms), x @ beta / y - 1.0, scale)
