"""What laws of whole requests share: sides that are linear in their terms, fits with intervals, guards, files.

A side is y = c0·x0(in, out) + c1·x1(in, out) + ..., for energy (J) and for runtime (s). Terms of token counts in, out:

    in, out, in_out   in, out, in·out
    context           in·out + out²/2                      tokens read again when every output token reruns the prefix
    context_square    in²·out + in·out² + out³/3           the same for attention, which grows with the square

Prediction intervals are parametric: t-quantile of the residual spread and the covariance of the coefficients, wider by
1 + log2(r) where a token count lies a factor r outside the fitted range; ten times above it the law refuses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError, OutOfRangeError
from wattlane.core.types import Estimate
from wattlane.measure.phases.tails import t_quantile
from wattlane.model.spread import Spread

Vector = NDArray[np.float64]
UNITS = {"energy_j": "J", "runtime_s": "s"}
TOKENS = ("input_tokens", "output_tokens")
REFUSED_FACTOR = 10.0
BILINEAR = ("in", "out", "in_out")
TERMS: dict[str, Callable[[Vector, Vector], Vector]] = {
    "in": lambda i, o: i + 0.0 * o,
    "out": lambda i, o: o + 0.0 * i,
    "in_out": lambda i, o: i * o,
    "context": lambda i, o: i * o + o**2 / 2,
    "context_square": lambda i, o: i**2 * o + i * o**2 + o**3 / 3,
}


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a side fits its own rows. Shares, not percent; `q2` is R² (centred) of leave-one-out predictions.

    `f_statistic` tests all terms but an intercept; NaN for a relative fit, which it does not suit.
    """

    r2_uncentred: float
    r2_centred: float
    q2: float
    f_statistic: float
    mape: float
    median_ape: float
    negative_predictions: int


@dataclass(frozen=True, eq=False, slots=True)
class Side:
    """One fitted response: a coefficient for each of `terms`, and an intercept (None if not in the form).

    `covariance` is (p, p) in the order intercept, then the terms; None where a law file gives coefficients alone.
    `residual_sd` is in the unit of the response, or a share of the prediction where `relative`. `rows` are those the
    interval rests on, an earlier law's included.
    """

    coefficients: tuple[float, ...]
    intercept: float | None = None
    covariance: Vector | None = None
    residual_sd: float | None = None
    rows: int | None = None
    quality: Quality | None = None
    terms: tuple[str, ...] = BILINEAR
    relative: bool = False

    @property
    def beta(self) -> Vector:
        """Coefficients as a vector, the intercept first where there is one."""
        first = [] if self.intercept is None else [self.intercept]
        return np.array([*first, *self.coefficients])

    @property
    def dof(self) -> int:
        """Rows less the coefficients that were free; a coefficient at its bound of 0 has no variance."""
        assert self.rows is not None
        assert self.covariance is not None
        return self.rows - int(np.count_nonzero(np.diag(self.covariance)))

    def at(self, input_tokens: Any, output_tokens: Any) -> Vector:
        """Return the design of n requests, shape (n, p)."""
        return design(input_tokens, output_tokens, self.intercept is not None, self.terms)

    def mean(self, input_tokens: float, output_tokens: float) -> float:
        """Return the fitted value; it may be negative."""
        return float(self.at([input_tokens], [output_tokens])[0] @ self.beta)

    def half_width(self, input_tokens: float, output_tokens: float, level: float) -> float:
        """Return half the prediction interval of one new run, t-distributed; infinite without a covariance."""
        if self.covariance is None or self.residual_sd is None or self.rows is None or self.dof < 1:
            return math.inf
        x = self.at([input_tokens], [output_tokens])[0]
        spread = self.residual_sd * (abs(float(x @ self.beta)) if self.relative else 1.0)
        return t_quantile(self.dof, level) * math.sqrt(spread**2 + float(x @ self.covariance @ x))


@dataclass(frozen=True, slots=True)
class Conformal:
    """How far the law was off on groups of rows it had not seen; `by` is the column that names the groups."""

    by: str
    energy_j: Spread
    runtime_s: Spread


@dataclass(frozen=True, eq=False, slots=True)
class RequestFit:
    """A fitted law of one model on one system; `range` holds (lowest, highest) tokens of the fitted rows.

    `kv_cache` says whether the engine kept its cache, None where that is not known.
    """

    model: str
    energy_j: Side
    runtime_s: Side
    range: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    method: str = "ols"
    kv_cache: bool | None = None
    conformal: Conformal | None = None

    law: ClassVar[str] = "request"

    @property
    def sides(self) -> dict[str, Side]:
        """Both sides by the name of their quantity."""
        return {"energy_j": self.energy_j, "runtime_s": self.runtime_s}

    def outside(self, input_tokens: float, output_tokens: float) -> list[str]:
        """Return in words what of a question lies outside the fitted range; empty means inside."""
        if not self.range:
            return ["the law file states no range"]
        return [
            f"{name} {value:.6g} outside [{self.range[name][0]:.6g}, {self.range[name][1]:.6g}]"
            for name, value in zip(TOKENS, (input_tokens, output_tokens), strict=True)
            if not self.range[name][0] <= value <= self.range[name][1]
        ]

    def beyond(self, input_tokens: float, output_tokens: float) -> tuple[float, float]:
        """Return the largest factors by which a count lies (above, below) the fitted range; 1 inside it."""
        above = below = 1.0
        for name, value in zip(TOKENS, (input_tokens, output_tokens), strict=True):
            if name in self.range:
                lowest, highest = self.range[name]
                above, below = max(above, value / highest), max(below, lowest / value)
        return above, below

    def request_cost(self, input_tokens: float, output_tokens: float) -> tuple[float, float]:
        """Return (runtime in s, energy in J) of one request as the form gives them, negative values included."""
        return self.runtime_s.mean(input_tokens, output_tokens), self.energy_j.mean(input_tokens, output_tokens)

    def predict(self, input_tokens: float, output_tokens: float, level: float = 0.95) -> dict[str, Estimate]:
        """Return `energy_j` and `runtime_s` of one new request, each with its prediction interval.

        The lower end stops at 0; without a covariance the interval is [0, ∞).

        Raises:
            InputError: token counts below 1.
            OutOfRangeError: the form gives a negative value, or a count is over ten times above the fitted range.
        """
        if not (input_tokens >= 1 and output_tokens >= 1):
            raise InputError(
                f"found {input_tokens} input and {output_tokens} output tokens; expected at least 1 of each"
            )
        outside = self.outside(input_tokens, output_tokens)
        above, below = self.beyond(input_tokens, output_tokens)
        if above > REFUSED_FACTOR:
            raise OutOfRangeError(
                f"the {self.law} law of {self.model} was asked {above:.3g} times above its fitted range "
                f"({'; '.join(outside)}); expected at most {REFUSED_FACTOR:g} times; measure such requests, fit again"
            )
        wider = 1.0 + math.log2(max(above, below))
        out = {}
        for name, side in self.sides.items():
            mean = side.mean(input_tokens, output_tokens)
            if mean < 0:
                raise OutOfRangeError(
                    f"the {self.law} law of {self.model} gives {name} = {mean:.4g} at {input_tokens:g} input and "
                    f"{output_tokens:g} output tokens; expected at least 0; its form cannot describe such requests, "
                    "fit with --method relative, which has no negative coefficients, or use the phase law"
                )
            half = wider * side.half_width(input_tokens, output_tokens, level)
            out[name] = Estimate(mean, max(mean - half, 0.0), mean + half, UNITS[name], bool(outside), level)
        return out

    def predict_group(self, input_tokens: float, output_tokens: float, level: float = 0.9) -> dict[str, Estimate]:
        """Return the same means with conformal intervals: what held for `level` of rows of groups the fit had not seen.

        Unbounded without held-out groups, or with fewer than the level needs; refusals are those of `predict`.
        """
        means = self.predict(input_tokens, output_tokens, level)
        spreads = {} if self.conformal is None else {name: getattr(self.conformal, name) for name in UNITS}
        return {
            name: spreads.get(name, Spread()).around(found.mean, found.unit, level, found.extrapolated)
            for name, found in means.items()
        }


def design(
    input_tokens: Any, output_tokens: Any, intercept: bool, terms: Sequence[str] = BILINEAR
) -> NDArray[np.float64]:
    """Return the columns (1,) and `terms` for n requests, shape (n, p)."""
    tin, tout = np.asarray(input_tokens, dtype=float), np.asarray(output_tokens, dtype=float)
    columns = [TERMS[term](tin, tout) for term in terms]
    return np.column_stack([np.ones(len(tin)), *columns] if intercept else columns)
