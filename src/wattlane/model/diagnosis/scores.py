"""Scores of predictions against measurements, as shares and not percent."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scores:
    """`rows` scored of `asked`; a row that could not be predicted is not scored and is counted by the difference.

    `bias` is the mean of predicted / measured − 1. R² is NaN where the measurements do not vary.
    """

    asked: int
    rows: int
    r2_uncentred: float
    r2_centred: float
    mape: float
    median_ape: float
    worst_ape: float
    bias: float
    negative_predictions: int

    def as_dict(self) -> dict[str, float | int | None]:
        """Return plain values for a JSON file; NaN becomes null."""
        return {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}


def scores(measured: Vector, predicted: Vector) -> Scores:
    """Return the scores of `predicted` (n,), NaN where there was no prediction, against `measured` (n,) above 0."""
    known = np.isfinite(predicted)
    y, found = measured[known], predicted[known]
    if not len(y):
        none = math.nan
        return Scores(len(measured), 0, none, none, none, none, none, none, 0)
    off = found / y - 1.0
    rss, about_mean = float(((y - found) ** 2).sum()), float(((y - y.mean()) ** 2).sum())
    return Scores(
        asked=len(measured),
        rows=len(y),
        r2_uncentred=1.0 - rss / float(y @ y),
        r2_centred=1.0 - rss / about_mean if about_mean > 0 else math.nan,
        mape=float(np.abs(off).mean()),
        median_ape=float(np.median(np.abs(off))),
        worst_ape=float(np.abs(off).max()),
        bias=float(off.mean()),
        negative_predictions=int(np.sum(found < 0)),
    )
