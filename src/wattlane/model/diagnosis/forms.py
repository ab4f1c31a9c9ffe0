"""One response under every reading of R²: with and without an intercept, centred and uncentred, F and p.

Least squares whatever the law was fitted by: these are the figures that published fits quote.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from wattlane.core.errors import InputError
from wattlane.model.observations import Observations
from wattlane.model.request_law import design
from wattlane.model.statistics.ols import ols

FORMS = {"without_intercept": False, "with_intercept": True}


def forms(table: Observations, response: str, terms: Sequence[str]) -> dict[str, Any]:
    """Return, by form, the coefficients with errors and p-values, R² both ways, Q², F, p, relative errors, negatives.

    Where the rows are too few for a form, its `refused` says so.
    """
    return {name: _form(table, response, terms, constant) for name, constant in FORMS.items()}


def _form(table: Observations, response: str, terms: Sequence[str], constant: bool) -> dict[str, Any]:
    x, y = design(table.input_tokens, table.output_tokens, constant, terms), getattr(table, response)
    try:
        found = ols(x, y, has_constant=constant)
    except InputError as error:
        return {"refused": str(error)}
    fitted = y - found.residual
    off = np.abs(fitted / y - 1.0)
    values = {
        "r2_uncentred": found.r2_uncentred,
        "r2_centred": found.r2_centred,
        "q2": found.q2,
        "f_statistic": found.f_statistic,
        "f_p_value": found.f_p_value,
        "mape": float(off.mean()),
        "median_ape": float(np.median(off)),
    }
    names = [*(["intercept"] if constant else []), *terms]
    tails = [float(p) if math.isfinite(p) else None for p in found.p_values]
    rows = zip(names, found.beta.tolist(), found.standard_errors.tolist(), tails, strict=True)
    return {
        **{name: value if math.isfinite(value) else None for name, value in values.items()},
        "dof": [found.terms, found.dof],
        "negative_predictions": int(np.sum(fitted < 0)),
        "coefficients": [
            {"term": term, "value": value, "standard_error": error, "p_value": tail}
            for term, value, error, tail in rows
        ],
    }
