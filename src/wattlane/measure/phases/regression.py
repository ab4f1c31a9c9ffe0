"""Prefill and decode energy of a continuously batching server, from windows of a designed load.

    E_w = e_prefill · N_p,w + e_decode · N_d,w + P_static · T_w (+ e_request · R_w) + ε_w

N_p counts prompt tokens less cached ones, N_d output tokens after the first of each request. Weighted least squares
with weights 1 / se²(E_w) where the meter states an error for every window, else 1 / T_w². A coefficient may come out
below zero: it is reported, not forced. Coefficients are marginal: what one more token costs at the loads of the design.
The gain of the meter is one in all windows: it scales every coefficient, whose interval holds it beside the fit's own.

Fit test. With repeats of the points, lack of fit: F of one own mean power per point against the line. Without repeats
but with stated errors, the residual chi-square. A line that misses the points by more than `MISFIT_LIMIT` of the power
is refused; a smaller misfit that repeats can show widens the intervals, whose error then is that of the points.
Refused: too few windows or points, rates that move together, a poor fit.
Source: Draper & Smith, Applied Regression Analysis, lack of fit; design limits in `wattlane.measure.phases.design`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError, MeasurementError
from wattlane.core.types import Origin
from wattlane.measure.phases.design import Identifiability, Matrix, identifiability
from wattlane.measure.phases.tails import chi2_tail, f_tail, t_quantile

LEVEL = 0.95
ALPHA = 0.01
MISFIT_LIMIT = 0.10
SPARE_WINDOWS = 3  # windows beyond one a coefficient
METHOD = "regression over designed load"
UNITS = {"prefill": "J/token", "decode": "J/token", "time": "W", "requests": "J/request"}


@dataclass(frozen=True, slots=True)
class LoadWindow:
    """What one window of a load point drew and did. `energy_se_j` is the meter's standard error, None if not stated."""

    point: str
    duration_s: float
    prefill_tokens: float
    decode_tokens: float
    energy_j: float
    energy_se_j: float | None = None
    requests: float = 0.0


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A fitted coefficient with its standard error, its interval (the meter's gain included) and its unit."""

    mean: float
    se: float
    lo: float
    hi: float
    unit: str

    def __str__(self) -> str:
        return f"{self.mean:.4g} {self.unit} [{self.lo:.4g}, {self.hi:.4g}]"


@dataclass(frozen=True, slots=True)
class FitTest:
    """`misfit` is how far the points lie from the line, root mean square, as a share of the mean energy of a window."""

    name: str
    statistic: float | None
    p_value: float | None
    misfit: float

    def __str__(self) -> str:
        tail = "" if self.statistic is None else f" {self.statistic:.3g}, p = {self.p_value:.2g}"
        return f"{self.name}{tail}; misfit {self.misfit:.2%}"


@dataclass(frozen=True, slots=True)
class RateFit:
    """Coefficients by term ("prefill", "decode", "time", "requests") with their covariance, and what was tested."""

    terms: tuple[str, ...]
    coefficients: dict[str, Coefficient]
    covariance: Matrix
    dof: float
    windows: int
    points: int
    identifiability: Identifiability
    test: FitTest
    notes: tuple[str, ...]
    level: float = LEVEL
    origin: Origin = Origin.MEASURED
    gain_sd: float = 0.0

    def energy_j(
        self, prefill_tokens: float = 0.0, decode_tokens: float = 0.0, duration_s: float = 0.0, requests: float = 0.0
    ) -> tuple[float, float, float]:
        """Return (joules, lo, hi) that the line gives for these amounts; terms that were not fitted count nothing."""
        given = {"prefill": prefill_tokens, "decode": decode_tokens, "time": duration_s, "requests": requests}
        amounts = np.array([given[term] for term in self.terms])
        mean_j = float(amounts @ [self.coefficients[term].mean for term in self.terms])
        se_j = math.sqrt(float(amounts @ self.covariance @ amounts))
        half_j = _half(mean_j, se_j, self.dof, self.gain_sd, self.level)
        return mean_j, mean_j - half_j, mean_j + half_j

    def __str__(self) -> str:
        lines = [f"{term}: {self.coefficients[term]}" for term in self.terms]
        lines += [f"{self.windows} windows of {self.points} points; {self.identifiability}", f"fit: {self.test}"]
        return "\n".join([*lines, *self.notes])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return {
            "method": METHOD,
            "status": self.origin.value,
            "level": self.level,
            "gain_sd": self.gain_sd,
            "coefficients": {
                term: {"mean": one.mean, "se": one.se, "lo": one.lo, "hi": one.hi, "unit": one.unit}
                for term, one in self.coefficients.items()
            },
            "dof": self.dof,
            "windows": self.windows,
            "points": self.points,
            "vif": self.identifiability.vif,
            "condition": self.identifiability.condition,
            "fit_test": {
                "name": self.test.name,
                "statistic": self.test.statistic if self.test.statistic != math.inf else None,
                "p_value": self.test.p_value,
                "misfit": self.test.misfit,
            },
            "notes": list(self.notes),
        }


def fit(
    windows: Sequence[LoadWindow],
    *,
    has_idle: bool = True,
    per_request: bool = False,
    level: float = LEVEL,
    misfit_limit: float = MISFIT_LIMIT,
    origin: Origin = Origin.MEASURED,
    gain_sd: float = 0.0,
) -> RateFit:
    """Return joules per prefill token and per decode token, with intervals.

    Args:
        windows: of a designed load; windows of the same point are its repeats.
        has_idle: whether the energy holds a draw that goes on without work (CPU seconds do not).
        per_request: fit joules per request as well.
        level: of the intervals.
        misfit_limit: largest misfit as a share of the mean energy of a window.
        origin: measured, or modelled when the energies were.
        gain_sd: relative standard deviation of the meter's gain, which all windows share.

    Raises:
        InputError: a window has no length, a negative count, a value that is not finite, or an error of 0.
        MeasurementError: the coefficients cannot be told apart on these windows, or a line does not fit them.
    """
    _check(windows)
    terms = ("prefill", "decode", *(("time",) if has_idle else ()), *(("requests",) if per_request else ()))
    rows = _rows(windows, terms)
    least = len(terms) + SPARE_WINDOWS
    if len(windows) < least or rows.points < len(terms):
        raise MeasurementError(
            f"phases not identifiable: found {len(windows)} windows of {rows.points} load points; expected at least "
            f"{least} windows of {len(terms)} points for {', '.join(terms)}; drive more of the design"
        )
    told = identifiability(rows.columns / rows.time_s[:, None], terms)
    if not told.is_identifiable:
        raise MeasurementError(
            f"phases not identifiable: the rates of {len(windows)} windows move together: {told}; drive a designed "
            "load with prompt-heavy and decode-heavy points"
        )
    beta = np.linalg.lstsq(rows.x, rows.y, rcond=None)[0].astype(np.float64)
    test, variance, dof = _tested(rows, beta)
    if test.p_value is not None and test.p_value < ALPHA and test.misfit > misfit_limit:
        raise MeasurementError(
            f"phases not identifiable: a constant energy per token does not fit these windows: {test} (limit "
            f"{misfit_limit:.0%}); narrow the range of rates, or fit the rates apart"
        )
    covariance = (variance * np.linalg.inv(rows.x.T @ rows.x)).astype(np.float64)
    se = np.sqrt(np.diag(covariance))
    halves = [_half(float(b), float(s), dof, gain_sd, level) for b, s in zip(beta, se, strict=True)]
    found = {
        term: Coefficient(float(b), float(s), float(b) - half, float(b) + half, UNITS[term])
        for term, b, s, half in zip(terms, beta, se, halves, strict=True)
    }
    notes = tuple(_notes(found, test))
    return RateFit(terms, found, covariance, dof, len(windows), rows.points, told, test, notes, level, origin, gain_sd)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Windows as arrays: `columns` (n, terms) of amounts, `scale_j` (n,) what residuals are divided by."""

    columns: Matrix
    energy_j: Matrix
    time_s: Matrix
    scale_j: Matrix
    member: NDArray[np.int64]
    has_errors: bool

    @property
    def points(self) -> int:
        return int(self.member.max()) + 1

    @property
    def x(self) -> Matrix:
        return self.columns / self.scale_j[:, None]

    @property
    def y(self) -> Matrix:
        return self.energy_j / self.scale_j


def _rows(windows: Sequence[LoadWindow], terms: tuple[str, ...]) -> _Rows:
    time_s = np.array([w.duration_s for w in windows], dtype=np.float64)
    given = {
        "prefill": [w.prefill_tokens for w in windows],
        "decode": [w.decode_tokens for w in windows],
        "time": time_s,
        "requests": [w.requests for w in windows],
    }
    errors_j = [w.energy_se_j for w in windows if w.energy_se_j is not None]
    has_errors = len(errors_j) == len(windows)
    points = sorted({w.point for w in windows})
    return _Rows(
        np.array([given[term] for term in terms], dtype=np.float64).T,
        np.array([w.energy_j for w in windows], dtype=np.float64),
        time_s,
        np.array(errors_j, dtype=np.float64) if has_errors else time_s,
        np.array([points.index(w.point) for w in windows]),
        has_errors,
    )


def _half(mean: float, se: float, dof: float, gain_sd: float, level: float) -> float:
    return math.hypot(t_quantile(dof, level) * se, t_quantile(math.inf, level) * gain_sd * mean)


def _tested(rows: _Rows, beta: Matrix) -> tuple[FitTest, float, float]:
    """Return (fit test, residual variance, its degrees of freedom)."""
    residual = rows.y - rows.x @ beta
    n, terms = rows.columns.shape
    squares = float(residual @ residual)
    variance, dof = squares / (n - terms), float(n - terms)
    misfit = _misfit(rows.member, rows.energy_j - rows.columns @ beta, rows.energy_j)
    inside, rank = _own_means(rows, residual)
    dof_pure, dof_lack = n - rank, rank - terms
    if dof_pure >= 2 and dof_lack >= 1:
        pure, lack = inside / dof_pure, (squares - inside) / dof_lack
        statistic = lack / pure if pure > 0 else math.inf
        test = FitTest("lack of fit F", statistic, f_tail(statistic, dof_lack, dof_pure), misfit)
        is_poor = test.p_value is not None and test.p_value < ALPHA
        return (test, lack, float(dof_lack)) if is_poor else (test, variance, dof)
    if rows.has_errors:
        return FitTest("residual chi-square", squares, chi2_tail(squares, dof), misfit), variance, dof
    return FitTest("not tested: no repeats and no stated errors", None, None, misfit), variance, dof


def _own_means(rows: _Rows, residual: Matrix) -> tuple[float, int]:
    """Return (squares left, rank) when each point may have a power of its own beside the line."""
    own = (rows.member[:, None] == np.arange(rows.points)) * (rows.time_s / rows.scale_j)[:, None]
    whole = np.hstack((rows.x / np.linalg.norm(rows.x, axis=0), own / np.linalg.norm(own, axis=0)))
    found, _, rank, _ = np.linalg.lstsq(whole, residual, rcond=1e-9)
    left = residual - whole @ found
    return float(left @ left), int(rank)


def _misfit(member: NDArray[np.int64], rest_j: Matrix, energy_j: Matrix) -> float:
    means = np.array([rest_j[member == point].mean() / energy_j[member == point].mean() for point in np.unique(member)])
    return float(np.sqrt(np.mean(means**2)))


def _notes(found: dict[str, Coefficient], test: FitTest) -> list[str]:
    notes = []
    for term, one in found.items():
        if one.mean < 0:
            notes.append(f"{term}_negative: {one}; reported as fitted, not forced to 0")
        elif one.lo <= 0:
            notes.append(f"{term}_not_shown: {one}; the interval holds 0")
    if test.p_value is not None and test.p_value < ALPHA:
        notes.append(f"misfit: {test}; the points differ by more than their repeats; the intervals hold that")
    if test.p_value is None:
        notes.append(f"fit_{test.name}")
    return notes


def _check(windows: Sequence[LoadWindow]) -> None:
    problems = []
    for i, w in enumerate(windows):
        counts = (w.prefill_tokens, w.decode_tokens, w.requests)
        if not w.duration_s > 0:
            problems.append(f"window {i} lasts {w.duration_s} s; expected seconds above 0")
        if not np.isfinite([*counts, w.energy_j, w.duration_s]).all() or min(counts) < 0:
            problems.append(f"window {i} holds {counts} and {w.energy_j} J; expected finite counts of at least 0")
        if w.energy_se_j is not None and not w.energy_se_j > 0:
            problems.append(f"window {i} has an error of {w.energy_se_j} J; expected joules above 0, or None")
    if problems:
        raise InputError.gathered("windows", problems)
