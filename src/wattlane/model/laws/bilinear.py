"""Wilkins' bilinear law: energy and runtime of one request on one system from its token counts.

    e(in, out) = a0·in + a1·out + a2·in·out      [J]
    r(in, out) = b0·in + b1·out + b2·in·out      [s]

Ordinary least squares, without intercept as published, or with one. (Wilkins, Keshav, Mortier 2024, arXiv 2407.04014.)
Least squares follows the few largest runs: R² can be high while short requests are badly off or below zero, which is
why a fit carries relative errors and the number of negative predictions beside R². A fit holds for its own system,
engine and range only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import FileFormatError, InputError, OutOfRangeError
from wattlane.core.extras import require
from wattlane.core.files import read_json, write_json
from wattlane.core.types import Estimate
from wattlane.model.observations import Observations

KIND = "law"
LAW = "bilinear"
UNITS = {"energy_j": "J", "runtime_s": "s"}
NAMES = {"energy_j": ("a0", "a1", "a2"), "runtime_s": ("b0", "b1", "b2")}
INTERCEPT = "intercept"


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a side fits its own rows. Shares, not percent; `q2` is R² (centred) of leave-one-out predictions."""

    r2_uncentred: float
    r2_centred: float
    q2: float
    f_statistic: float
    mape: float
    median_ape: float
    negative_predictions: int


@dataclass(frozen=True, eq=False, slots=True)
class Side:
    """One fitted response: coefficients of (in, out, in·out), intercept (None if not in the form).

    `covariance` is (p, p) in the order intercept, then the three; None where a law file gives coefficients alone.
    """

    coefficients: tuple[float, float, float]
    intercept: float | None = None
    covariance: NDArray[np.float64] | None = None
    residual_sd: float | None = None
    rows: int | None = None
    quality: Quality | None = None

    @property
    def beta(self) -> NDArray[np.float64]:
        """Coefficients as a vector, the intercept first where there is one."""
        first = [] if self.intercept is None else [self.intercept]
        return np.array([*first, *self.coefficients])

    def mean(self, input_tokens: float, output_tokens: float) -> float:
        """Return the fitted value; it may be negative."""
        return float(design([input_tokens], [output_tokens], self.intercept is not None)[0] @ self.beta)

    def half_width(self, input_tokens: float, output_tokens: float, level: float) -> float:
        """Return half the prediction interval of one new run, t-distributed; infinite without a covariance."""
        if self.covariance is None or self.residual_sd is None or self.rows is None:
            return math.inf
        x = design([input_tokens], [output_tokens], self.intercept is not None)[0]
        quantile = float(require("scipy.stats").t.ppf(0.5 + level / 2, self.rows - len(self.beta)))
        return quantile * math.sqrt(self.residual_sd**2 + float(x @ self.covariance @ x))


@dataclass(frozen=True, eq=False, slots=True)
class BilinearFit:
    """A fitted bilinear law of one model on one system; `range` holds (lowest, highest) tokens of the fitted rows."""

    model: str
    energy_j: Side
    runtime_s: Side
    range: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def outside(self, input_tokens: float, output_tokens: float) -> list[str]:
        """Return in words what of a question lies outside the fitted range; empty means inside."""
        asked = {"input_tokens": input_tokens, "output_tokens": output_tokens}
        if not self.range:
            return ["the law file states no range"]
        return [
            f"{name} {value:.6g} outside [{self.range[name][0]:.6g}, {self.range[name][1]:.6g}]"
            for name, value in asked.items()
            if not self.range[name][0] <= value <= self.range[name][1]
        ]

    def request_cost(self, input_tokens: float, output_tokens: float) -> tuple[float, float]:
        """Return (runtime in s, energy in J) of one request as the form gives them, negative values included."""
        return self.runtime_s.mean(input_tokens, output_tokens), self.energy_j.mean(input_tokens, output_tokens)

    def predict(self, input_tokens: float, output_tokens: float, level: float = 0.95) -> dict[str, Estimate]:
        """Return `energy_j` and `runtime_s` of one new request, each with its prediction interval.

        The lower end stops at 0; without a covariance the interval is [0, ∞).

        Raises:
            InputError: token counts below 1.
            OutOfRangeError: the form gives a negative value.
        """
        if not (input_tokens >= 1 and output_tokens >= 1):
            raise InputError(
                f"found {input_tokens} input and {output_tokens} output tokens; expected at least 1 of each"
            )
        extrapolated = bool(self.outside(input_tokens, output_tokens))
        out = {}
        for name, side in (("energy_j", self.energy_j), ("runtime_s", self.runtime_s)):
            mean = side.mean(input_tokens, output_tokens)
            if mean < 0:
                raise OutOfRangeError(
                    f"the bilinear law of {self.model} gives {name} = {mean:.4g} at {input_tokens:g} input and "
                    f"{output_tokens:g} output tokens; expected at least 0; its form cannot describe such requests, "
                    "fit it on them alone or use the phase law"
                )
            half = side.half_width(input_tokens, output_tokens, level)
            out[name] = Estimate(mean, max(mean - half, 0.0), mean + half, UNITS[name], extrapolated, level)
        return out


def design(input_tokens: Any, output_tokens: Any, intercept: bool) -> NDArray[np.float64]:
    """Return the columns (1,) in, out, in·out for n requests, shape (n, 3) or (n, 4)."""
    tin, tout = np.asarray(input_tokens, dtype=float), np.asarray(output_tokens, dtype=float)
    columns = [tin, tout, tin * tout]
    return np.column_stack([np.ones(len(tin)), *columns] if intercept else columns)


def fit_bilinear(
    table: Observations, model: str, *, intercept: bool = False, provenance: Mapping[str, Any] | None = None
) -> BilinearFit:
    """Fit both sides by ordinary least squares.

    Raises:
        InputError: fewer rows than coefficients + 1, or token counts that do not tell the terms apart.
    """
    x = design(table.input_tokens, table.output_tokens, intercept)
    n, p = x.shape
    if n <= p:
        raise InputError(f"found {n} rows; expected at least {p + 1} to fit {p} coefficients and their errors")
    norms = np.linalg.norm(x, axis=0)
    if np.linalg.matrix_rank(x / norms) < p:
        raise InputError(
            f"the rows do not tell {p} terms apart: input tokens or output tokens hardly vary; "
            "expected runs with at least two values of each, in different combinations"
        )
    sides = {name: _side(x, norms, getattr(table, name), intercept) for name in UNITS}
    limits = {
        name: (float(getattr(table, name).min()), float(getattr(table, name).max()))
        for name in ("input_tokens", "output_tokens")
    }
    return BilinearFit(model, sides["energy_j"], sides["runtime_s"], limits, provenance or {})


def _side(x: NDArray[np.float64], norms: NDArray[np.float64], y: NDArray[np.float64], intercept: bool) -> Side:
    n, p = x.shape
    # columns of unit length: tokens and their products differ by orders of magnitude
    q, r = np.linalg.qr(x / norms)
    inverse = np.linalg.inv(r)
    beta = inverse @ (q.T @ y) / norms
    residual = y - x @ beta
    rss = float(residual @ residual)
    variance = rss / (n - p)
    covariance = (inverse @ inverse.T) / np.outer(norms, norms) * variance
    about_mean, about_zero = float(((y - y.mean()) ** 2).sum()), float(y @ y)
    left_out = residual / np.maximum(1.0 - (q**2).sum(axis=1), 1e-12)
    explained, terms = (about_mean - rss, p - 1) if intercept else (about_zero - rss, p)
    relative = np.abs(residual) / np.abs(y)
    quality = Quality(
        r2_uncentred=1.0 - rss / about_zero,
        r2_centred=1.0 - rss / about_mean if about_mean > 0 else math.nan,
        q2=1.0 - float(left_out @ left_out) / about_mean if about_mean > 0 else math.nan,
        f_statistic=explained / terms / variance if variance > 0 else math.inf,
        mape=float(relative.mean()),
        median_ape=float(np.median(relative)),
        negative_predictions=int(np.sum(x @ beta < 0)),
    )
    a0, a1, a2 = (float(v) for v in beta[-3:])
    return Side((a0, a1, a2), float(beta[0]) if intercept else None, covariance, math.sqrt(variance), n, quality)


def write_bilinear(fit: BilinearFit, path: Path) -> None:
    """Write a law file: coefficients under their names, range, and under `fit` what the interval needs."""
    body: dict[str, Any] = {"law": LAW, "model": fit.model}
    extra: dict[str, Any] = {}
    for name, side in (("energy_j", fit.energy_j), ("runtime_s", fit.runtime_s)):
        body[name] = dict(zip(NAMES[name], side.coefficients, strict=True))
        if side.intercept is not None:
            body[name][INTERCEPT] = side.intercept
        if side.covariance is not None:
            extra[name] = {"covariance": side.covariance.tolist(), "residual_sd": side.residual_sd, "rows": side.rows}
        if side.quality is not None:
            extra.setdefault(name, {})["quality"] = {
                k: v if math.isfinite(v) else None for k, v in asdict(side.quality).items()
            }
    body["range"] = {name: list(limits) for name, limits in fit.range.items()}
    write_json(path, KIND, {**body, "fit": extra, "provenance": dict(fit.provenance)})


def read_bilinear(path: Path) -> BilinearFit:
    """Read a law file; one with coefficients and range alone is enough, its intervals are then unbounded.

    Raises:
        FileFormatError: another kind of file or another law.
        InputError: missing or non-numeric coefficients, a range that is none; all reported together.
    """
    body = read_json(path, KIND)
    if body.get("law") != LAW:
        raise FileFormatError(f"{path}: found law {body.get('law')!r}; expected {LAW!r}")
    problems = [] if isinstance(body.get("model"), str) else [f"model is {body.get('model')!r}; expected a name"]
    for name, names in NAMES.items():
        found = body.get(name)
        if not isinstance(found, dict):
            problems.append(f"{name} is {found!r}; expected an object with {', '.join(names)}")
            continue
        values = {key: found.get(key) for key in names} | {k: found[k] for k in (INTERCEPT,) if k in found}
        problems += [f"{name}.{k} is {v!r}; expected a number" for k, v in values.items() if not _is_number(v)]
    limits = body.get("range") or {}
    for name in ("input_tokens", "output_tokens") if limits else ():
        pair = limits.get(name)
        if not (isinstance(pair, list) and len(pair) == 2 and all(_is_number(v) for v in pair) and pair[0] <= pair[1]):
            problems.append(f"range.{name} is {pair!r}; expected [lowest, highest]")
    if problems:
        raise InputError.gathered(str(path), problems)
    sides = {name: _read_side(body[name], names, body.get("fit", {}).get(name)) for name, names in NAMES.items()}
    range_ = {name: (float(pair[0]), float(pair[1])) for name, pair in limits.items()}
    return BilinearFit(body["model"], sides["energy_j"], sides["runtime_s"], range_, body.get("provenance", {}))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read_side(found: Mapping[str, float], names: tuple[str, ...], fit: Mapping[str, Any] | None) -> Side:
    a0, a1, a2 = (float(found[name]) for name in names)
    intercept = float(found[INTERCEPT]) if INTERCEPT in found else None
    if fit is None or "covariance" not in fit:
        return Side((a0, a1, a2), intercept)
    quality: dict[str, Any] | None = None
    if "quality" in fit:
        quality = {k: math.nan if v is None else v for k, v in fit["quality"].items()}
    return Side(
        (a0, a1, a2),
        intercept,
        np.array(fit["covariance"], dtype=float),
        float(fit["residual_sd"]),
        int(fit["rows"]),
        None if quality is None else Quality(**quality),
    )
