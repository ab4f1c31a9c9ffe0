"""Ordinary least squares with everything a reviewer asks of it.

    β = (XᵀX)⁻¹ Xᵀy,  cov β = s² (XᵀX)⁻¹,  s² = RSS / (n − p),  solved by QR with columns of unit length

R² comes centred (against the mean of y) and uncentred (against 0); a fit without a constant is often quoted with the
second, which answers another question. The F statistic tests all terms but the constant, where there is one.
`q2` is the centred R² of leave-one-out predictions, from residual / (1 − leverage).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.measure.phases.tails import f_tail, t_tail

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class OlsFit:
    """A fit of n values on p columns: `beta` (p,), `covariance` (p, p), `residual` and `leverage` (n,)."""

    beta: Vector
    covariance: Vector
    residual: Vector
    leverage: Vector
    about_mean: float
    about_zero: float
    has_constant: bool

    @property
    def rss(self) -> float:
        """Sum of squared residuals."""
        return float(self.residual @ self.residual)

    @property
    def dof(self) -> int:
        """Degrees of freedom of the residuals, n − p."""
        return len(self.residual) - len(self.beta)

    @property
    def residual_sd(self) -> float:
        """Standard deviation of the residuals, s."""
        return math.sqrt(self.rss / self.dof)

    @property
    def standard_errors(self) -> Vector:
        """Standard error of each coefficient."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def p_values(self) -> Vector:
        """Two-sided p-value of each coefficient."""
        return np.array([t_tail(b / e, self.dof) for b, e in zip(self.beta, self.standard_errors, strict=True)])

    @property
    def r2_uncentred(self) -> float:
        """1 − RSS / Σy²."""
        return 1.0 - self.rss / self.about_zero

    @property
    def r2_centred(self) -> float:
        """1 − RSS / Σ(y − ȳ)²; NaN for a constant y."""
        return 1.0 - self.rss / self.about_mean if self.about_mean > 0 else math.nan

    @property
    def q2(self) -> float:
        """1 − PRESS / Σ(y − ȳ)²; NaN for a constant y."""
        left_out = self.residual / np.maximum(1.0 - self.leverage, 1e-12)
        return 1.0 - float(left_out @ left_out) / self.about_mean if self.about_mean > 0 else math.nan

    @property
    def terms(self) -> int:
        """Columns the F statistic tests."""
        return len(self.beta) - int(self.has_constant)

    @property
    def f_statistic(self) -> float:
        """Explained over residual mean square, about the mean with a constant, about 0 without; ∞ for no residual."""
        explained = (self.about_mean if self.has_constant else self.about_zero) - self.rss
        return explained / self.terms / (self.rss / self.dof) if self.rss > 0 else math.inf

    @property
    def f_p_value(self) -> float:
        """Upper tail of the F statistic.

        Raises:
            MissingExtraError: scipy is not installed.
        """
        return f_tail(self.f_statistic, self.terms, self.dof)


def ols(x: Vector, y: Vector, *, has_constant: bool) -> OlsFit:
    """Fit `y` (n,) on the columns of `x` (n, p); `has_constant` says that `x` holds a column of ones.

    Raises:
        InputError: too few rows, or columns that cannot be told apart.
    """
    n, p = x.shape
    if n <= p:
        raise InputError(f"found {n} rows; expected at least {p + 1} to fit {p} coefficients and their errors")
    # columns of unit length: tokens and their products differ by orders of magnitude
    norms = np.linalg.norm(x, axis=0)
    if not np.all(norms > 0) or np.linalg.matrix_rank(x / norms) < p:
        raise InputError(
            f"the rows do not tell {p} terms apart: input tokens or output tokens hardly vary; "
            "expected runs with at least two values of each, in different combinations"
        )
    q, r = np.linalg.qr(x / norms)
    inverse = np.linalg.inv(r)
    beta = inverse @ (q.T @ y) / norms
    residual = y - x @ beta
    # one step of refinement: it recovers the digits that badly scaled columns cost
    beta = beta + inverse @ (q.T @ residual) / norms
    residual = y - x @ beta
    covariance = (inverse @ inverse.T) / np.outer(norms, norms) * float(residual @ residual) / (n - p)
    about_mean = float(((y - y.mean()) ** 2).sum())
    return OlsFit(beta, covariance, residual, (q**2).sum(axis=1), about_mean, float(y @ y), has_constant)
