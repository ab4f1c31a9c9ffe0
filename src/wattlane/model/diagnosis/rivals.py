"""What else could have been fitted to the same runs: the forms and fits a reviewer compares a law with.

Each is fitted on the same rows and judged on the same folds, the simplest first.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from wattlane.model.diagnosis.held_out import Fitter, Predictor, Vector, by_row
from wattlane.model.fitting import Ask
from wattlane.model.laws.table import Cell, LookupTable
from wattlane.model.observations import Observations

RIVALS: Mapping[str, Ask] = {
    "bilinear, least squares": Ask("bilinear", "ols"),
    "bilinear, relative, non-negative": Ask("bilinear", "relative"),
    "cache-aware, cache on": Ask("cache_aware", kv_cache=True),
    "cache-aware, cache off, 2 terms": Ask("cache_aware", kv_cache=False, order=2),
    "cache-aware, cache off, 3 terms": Ask("cache_aware", kv_cache=False, order=3),
}
PER_TOKEN, LOOKUP = "joules and seconds per output token", "measured lookup, ceiling bins"


def fitter_of(ask: Ask) -> Fitter:
    """Return how a law is fitted to some of the rows, as cross-validation wants it."""
    return lambda table: vector_predictor(ask, table)


def vector_predictor(ask: Ask, table: Observations) -> Predictor:
    """Fit and return a predictor of whole columns; negative values are returned as they are."""
    fit = ask.fit(table, "")

    def predict(input_tokens: Vector, output_tokens: Vector) -> dict[str, Vector]:
        return {name: side.at(input_tokens, output_tokens) @ side.beta for name, side in fit.sides.items()}

    return predict


def rivals() -> dict[str, Fitter]:
    """Return every rival by its name."""
    return {
        PER_TOKEN: _per_token,
        LOOKUP: _lookup,
        **{name: fitter_of(ask) for name, ask in RIVALS.items()},
    }


def _per_token(table: Observations) -> Predictor:
    rates = {name: float(np.median(getattr(table, name) / table.output_tokens)) for name in ("energy_j", "runtime_s")}
    return lambda _input, output: {name: rate * output for name, rate in rates.items()}


def _lookup(table: Observations) -> Predictor:
    """Return Fernandez's table law; its cells are the runs, each the mean of its repeats, a request its own batch."""
    runs: dict[tuple[int, int], list[int]] = {}
    for i, (tin, tout) in enumerate(zip(table.input_tokens, table.output_tokens, strict=True)):
        runs.setdefault((round(tin), round(tout)), []).append(i)
    cells = {
        key: Cell(1.0, float(table.energy_j[rows].mean()), float(table.runtime_s[rows].mean()))
        for key, rows in runs.items()
    }
    return by_row(LookupTable("", cells, missing="interpolate").request_cost)
