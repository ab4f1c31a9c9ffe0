"""Non-negative fit of relative errors, plain or robust.

    minimise Σ ((x_i β − y_i) / y_i)²,  β ≥ 0

A run of 10 J counts as much as one of 10 MJ, and no coefficient may take energy or time away. `robust` divides by the
larger of y_i and the fitted value, so that a run recorded far too low has no more leverage than another, and reweights
by Huber's function (tuning 1.345, 95 % efficient on normal errors) of the residual over its scale, 1.4826 times the
median of the absolute values: a few spoilt runs then hardly move the fit. Sources: Lawson & Hanson, Solving Least
Squares Problems, ch. 23 (non-negative); Huber, Robust Statistics, ch. 7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.core.extras import require

Vector = NDArray[np.float64]
HUBER = 1.345
MAD_TO_SD = 1.4826
ROUNDS = 50
SETTLED = 1e-10


@dataclass(frozen=True, eq=False, slots=True)
class RelativeFit:
    """`beta` (p,) ≥ 0; `covariance` (p, p), 0 for coefficients at the bound; `residual` (n,) = (xβ − y) / y."""

    beta: Vector
    covariance: Vector
    residual: Vector
    leverage: Vector

    @property
    def dof(self) -> int:
        """Rows less the coefficients above their bound."""
        return len(self.residual) - int(np.count_nonzero(self.beta))

    @property
    def relative_sd(self) -> float:
        """Root mean square of (y − xβ) / xβ, spoilt runs included: what a new run may be off by, of its prediction."""
        off = 1.0 / (1.0 + self.residual) - 1.0
        return math.sqrt(float(off @ off) / self.dof)


def relative_fit(x: Vector, y: Vector, *, robust: bool = False) -> RelativeFit:
    """Fit `y` (n,), all above 0, on the non-negative columns of `x` (n, p).

    Raises:
        InputError: a value of y that is not above 0, or fewer rows than columns + 1.
        MissingExtraError: scipy is not installed.
    """
    n, p = x.shape
    if n <= p:
        raise InputError(f"found {n} rows; expected at least {p + 1} to fit {p} coefficients and their errors")
    if not np.all(y > 0):
        raise InputError(
            f"found {int(np.sum(~(y > 0)))} values that are not above 0; relative errors need positive ones"
        )
    norms = np.linalg.norm(x / y[:, None], axis=0)
    columns = x / np.where(norms > 0, norms, 1.0)
    norms = np.where(norms > 0, norms, 1.0)
    size, weights = y, np.ones(n)
    beta = _nonnegative(columns, y, size, weights)
    for _ in range(ROUNDS if robust else 0):
        size = np.maximum(y, columns @ beta)
        off = np.abs(columns @ beta - y) / size
        scale = MAD_TO_SD * float(np.median(off))
        if scale <= SETTLED:
            break
        weights = np.minimum(1.0, HUBER * scale / np.maximum(off, SETTLED))
        before, beta = beta, _nonnegative(columns, y, size, weights)
        if np.max(np.abs(beta - before)) <= SETTLED * np.max(np.abs(beta)):
            break
    covariance, leverage = _spread(columns / size[:, None], beta, (columns @ beta - y) / size, weights)
    return RelativeFit(beta / norms, covariance / np.outer(norms, norms), columns @ beta / y - 1.0, leverage)


def _nonnegative(columns: Vector, y: Vector, size: Vector, weights: Vector) -> Vector:
    root = np.sqrt(weights) / size
    beta, _ = require("scipy.optimize").nnls(columns * root[:, None], y * root)
    return np.asarray(beta, dtype=float)


def _spread(scaled: Vector, beta: Vector, off: Vector, weights: Vector) -> tuple[Vector, Vector]:
    """Return the covariance of the free coefficients (Huber's, with his score and its slope) and the leverages."""
    free = beta > 0
    part = scaled[:, free]
    dof = len(off) - int(free.sum())
    slope = float(np.mean(weights >= 1.0))
    variance = float(((weights * off) ** 2).sum()) / dof / max(slope, 0.1) ** 2
    inverse = np.linalg.pinv(part.T @ part)
    covariance = np.zeros((len(beta), len(beta)))
    covariance[np.ix_(free, free)] = variance * inverse
    return covariance, np.einsum("ij,jk,ik->i", part, inverse, part)
