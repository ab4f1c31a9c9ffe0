"""Cross-validation by group: rows of a group are left out together, for rows of one group err together.

Intervals are split-conformal by group and tested the same way. For each group left out, the errors that set its
interval come from fits that saw neither that group nor the one whose errors they are, so that calibration never sees
what it is scored on. Each calibrating group weighs the same (Lee, Barber, Willett 2023, arXiv 2306.06342). With K of
them no level above K / (K + 1) can be stated; the coverage is then tested at the highest of `LEVELS` that can.
Above `MOST` groups, whole groups share folds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError, OutOfRangeError
from wattlane.model.diagnosis.scores import Scores, scores
from wattlane.model.observations import Observations
from wattlane.model.spread import Spread, spread_of

Vector = NDArray[np.float64]
Labels = NDArray[np.str_]
RESPONSES = ("energy_j", "runtime_s")
MOST = 16
LEVELS = (0.9, 0.8, 0.5)
SEED = 20240709
# from observations to a function of (input, output) tokens that gives each response, NaN where it refuses
Predictor = Callable[[Vector, Vector], dict[str, Vector]]
Fitter = Callable[[Observations], Predictor]


@dataclass(frozen=True, eq=False, slots=True)
class HeldOut:
    """Predictions of rows whose group was left out, by response (n,); NaN where the fit or the law refused."""

    labels: Labels
    folds: int
    predicted: Mapping[str, Vector]
    refusals: tuple[str, ...]

    def scores(self, table: Observations, response: str, group: str | None = None) -> Scores:
        """Return the scores of all rows, or of those of one group."""
        chosen = np.ones(len(self.labels), dtype=bool) if group is None else self.labels == group
        return scores(getattr(table, response)[chosen], self.predicted[response][chosen])

    def spread(self, table: Observations, response: str) -> Spread:
        """Return the conformal quantiles of the left-out errors of a response."""
        return _spread(getattr(table, response), self.predicted[response], self.labels)


@dataclass(frozen=True, slots=True)
class Coverage:
    """Share of rows, each group weighing the same, that lay in intervals set without them.

    `half_width` is the median over rows, as a share of the prediction; None where the groups are too few for the level.
    """

    level: float
    groups: int
    share: float | None
    half_width: float | None


def leave_groups_out(table: Observations, labels: Labels, fitter: Fitter) -> HeldOut:
    """Predict every row by a fit that did not see its group.

    Raises:
        InputError: fewer than two groups.
    """
    folds = folds_of(labels)
    predicted = {name: np.full(len(labels), np.nan) for name in RESPONSES}
    refusals = []
    for fold in range(int(folds.max()) + 1):
        out = folds == fold
        try:
            found = fitter(subset(table, ~out))(table.input_tokens[out], table.output_tokens[out])
        except InputError as error:
            refusals.append(f"without {', '.join(sorted(set(labels[out].tolist()))[:4])}: {error}")
            continue
        for name in RESPONSES:
            predicted[name][out] = found[name]
    return HeldOut(labels, int(folds.max()) + 1, predicted, tuple(refusals))


def coverage(table: Observations, labels: Labels, fitter: Fitter) -> dict[str, Coverage]:
    """Return, by response, how often rows of a left-out group lay within intervals that neither it nor its like set."""
    folds = folds_of(labels)
    groups = len(set(labels.tolist()))
    calibrating = groups - math.ceil(groups / (int(folds.max()) + 1))
    level = next((one for one in LEVELS if one <= calibrating / (calibrating + 1)), LEVELS[-1])
    hits: dict[str, list[float]] = {name: [] for name in RESPONSES}
    widths: dict[str, list[float]] = {name: [] for name in RESPONSES}
    for fold in range(int(folds.max()) + 1):
        out = folds == fold
        rest = subset(table, ~out)
        if len(set(labels[~out].tolist())) < 2:
            continue
        try:
            calibrated = leave_groups_out(rest, labels[~out], fitter)
            found = fitter(rest)(table.input_tokens[out], table.output_tokens[out])
        except InputError:
            continue
        for name in RESPONSES:
            quantile = calibrated.spread(rest, name).quantiles.get(level, math.inf)
            if math.isfinite(quantile):
                errors = _log_errors(getattr(table, name)[out], found[name])
                widths[name] += [math.exp(quantile) - 1.0] * len(errors)
                hits[name] += [
                    float(np.mean(errors[labels[out] == group] <= quantile)) for group in dict.fromkeys(labels[out])
                ]
    return {
        name: Coverage(
            level,
            len(hits[name]),
            float(np.mean(hits[name])) if hits[name] else None,
            float(np.median(widths[name])) if widths[name] else None,
        )
        for name in RESPONSES
    }


def folds_of(labels: Labels) -> NDArray[np.int64]:
    """Return the fold of each row: one a group, or `MOST` of whole groups, dealt out in a seeded order.

    Raises:
        InputError: fewer than two groups.
    """
    groups = list(dict.fromkeys(labels.tolist()))
    if len(groups) < 2:
        raise InputError(f"found one group, {groups[0] if groups else 'none'}; expected at least two to leave one out")
    order = np.random.default_rng(SEED).permutation(len(groups)) if len(groups) > MOST else np.arange(len(groups))
    fold = {groups[at]: i % MOST for i, at in enumerate(order)}
    return np.array([fold[label] for label in labels.tolist()], dtype=np.int64)


def subset(table: Observations, chosen: NDArray[np.bool_]) -> Observations:
    """Return some of the rows."""
    return Observations(
        table.input_tokens[chosen], table.output_tokens[chosen], table.energy_j[chosen], table.runtime_s[chosen]
    )


def by_row(cost: Callable[[float, float], tuple[float, float]]) -> Predictor:
    """Return a predictor from a law's (runtime in s, energy in J) of one request; a refusal becomes NaN."""

    def predict(input_tokens: Vector, output_tokens: Vector) -> dict[str, Vector]:
        found = np.full((len(input_tokens), 2), np.nan)
        for i, point in enumerate(zip(input_tokens.tolist(), output_tokens.tolist(), strict=True)):
            try:
                found[i] = cost(*point)
            except (OutOfRangeError, InputError):
                continue
        return {"runtime_s": found[:, 0], "energy_j": found[:, 1]}

    return predict


def _spread(measured: Vector, predicted: Vector, labels: Labels) -> Spread:
    errors = _log_errors(measured, predicted)
    found = spread_of(errors.tolist(), labels.tolist())
    return Spread({level: q for level, q in found.quantiles.items() if math.isfinite(q)}, found.groups)


def _log_errors(measured: Vector, predicted: Vector) -> Vector:
    """Return |log(predicted / measured)|; a prediction below zero, or none, is infinitely far off."""
    usable = np.isfinite(predicted) & (predicted > 0)
    return np.where(usable, np.abs(np.log(np.where(usable, predicted, 1.0) / measured)), np.inf)
