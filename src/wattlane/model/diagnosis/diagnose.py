"""Everything a reviewer asks of a fitted law, from the runs it was fitted on, as one plain object.

scores in sample ─ forms and R² ─ groups left out, with tested intervals ─ rivals on the same folds ─ variance ─
residuals by factor ─ the runs themselves with fitted and held-out values
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.model.diagnosis.forms import forms
from wattlane.model.diagnosis.held_out import HeldOut, Labels, coverage, leave_groups_out
from wattlane.model.diagnosis.rivals import fitter_of, rivals
from wattlane.model.diagnosis.scores import scores
from wattlane.model.diagnosis.variance import variance
from wattlane.model.fitting import Ask, describe
from wattlane.model.records import Records
from wattlane.model.request_law import UNITS, Conformal, RequestFit

LENGTHS = "lengths"
# columns by which groups are left out unless the caller names others; those with one value are passed over
USUAL = ("model", "system", "source", "input_tokens", "output_tokens", LENGTHS)
MOST_LEVELS = 24
ENOUGH = 9  # groups from which a conformal interval at 90 % is finite


@dataclass(frozen=True, eq=False, slots=True)
class Diagnosis:
    """`body` is what `fit.json` holds, `runs` the table beside it, `fit` the law with its conformal intervals."""

    fit: RequestFit
    body: Mapping[str, Any]
    runs: pl.DataFrame


def diagnose(records: Records, fit: RequestFit, ask: Ask, by: Sequence[str] = ()) -> Diagnosis:
    """Judge `fit` on the runs it was fitted on.

    Args:
        records: the runs.
        fit: the law fitted to all of them.
        ask: how it was fitted, to fit it again without some of them.
        by: columns whose groups are left out in turn, the first also setting the conformal intervals of the law;
            "lengths" leaves out one pair of lengths at a time. Empty takes every usual one that has groups, first the
            one with enough of them for an interval at 90 %.

    Raises:
        UnknownNameError: no such column.
        InputError: a column that was asked for has one group.
        MissingExtraError: scipy is not installed.
    """
    table = records.observations()
    again = replace(ask, kv_cache=fit.kv_cache) if ask.kv_cache is None else ask
    groupings = _groupings(records, by)
    held = {name: leave_groups_out(table, labels, fitter_of(again)) for name, labels in groupings.items()}
    fitted = {name: side.at(table.input_tokens, table.output_tokens) @ side.beta for name, side in fit.sides.items()}
    body: dict[str, Any] = {
        "law": fit.law,
        "model": fit.model,
        "method": fit.method,
        "kv_cache": fit.kv_cache,
        "runs": describe(records),
        "range": {name: list(limits) for name, limits in fit.range.items()},
        "sides": {
            name: {
                "unit": UNITS[name],
                "terms": [*(["intercept"] if side.intercept is not None else []), *side.terms],
                "coefficients": side.beta.tolist(),
                "standard_errors": None if side.covariance is None else np.sqrt(np.diag(side.covariance)).tolist(),
                "in_sample": scores(getattr(table, name), fitted[name]).as_dict(),
                "q2": _finite(side.quality.q2 if side.quality else math.nan),
                "least_squares": forms(table, name, side.terms),
            }
            for name, side in fit.sides.items()
        },
        "held_out": [_left_out(records, name, held[name], again) for name in groupings],
        "rivals": _rivals(records, groupings),
        "variance": variance(records),
        "residuals": {name: _by_factor(records, name, fitted[name]) for name in fitted},
        "provenance": dict(fit.provenance),
    }
    first = next(iter(held))  # lengths always vary: without that there is no fit
    conformal = Conformal(first, *(held[first].spread(table, name) for name in UNITS))
    fit = replace(fit, conformal=conformal)
    columns = {f"fitted_{name}": values for name, values in fitted.items()}
    columns |= {f"held_out_{name}": held[first].predicted[name] for name in UNITS}
    runs = records.table.with_columns(*(pl.Series(name, values, nan_to_null=True) for name, values in columns.items()))
    return Diagnosis(fit, body, runs)


def _groupings(records: Records, by: Sequence[str]) -> dict[str, Labels]:
    lengths = np.char.add(np.char.add(records.labels("input_tokens"), " in, "), records.labels("output_tokens"))
    lengths = np.char.add(lengths, " out")
    found = {}
    for name in by or USUAL:
        if name != LENGTHS and name not in records.table.columns:
            raise UnknownNameError("column of groups", name, [LENGTHS, *records.table.columns])
        labels = lengths if name == LENGTHS else records.labels(name)
        if len(set(labels.tolist())) > 1:
            found[name] = labels
        elif by:
            raise InputError(f"found one group in {name}, {labels[0]}; expected at least two to leave one out")
    if by:
        return found
    counts = {name: len(set(labels.tolist())) for name, labels in found.items()}
    first = next(
        (name for name, count in counts.items() if count >= ENOUGH), max(counts, key=lambda name: counts[name])
    )
    return {first: found[first], **found}


def _left_out(records: Records, name: str, held: HeldOut, ask: Ask) -> dict[str, Any]:
    table = records.observations()
    groups = list(dict.fromkeys(held.labels.tolist()))
    tested = coverage(table, held.labels, fitter_of(ask))
    return {
        "by": name,
        "groups": len(groups),
        "folds": held.folds,
        "refusals": list(held.refusals),
        "scores": {response: held.scores(table, response).as_dict() for response in UNITS},
        "coverage": {
            response: {"level": one.level, "groups": one.groups, "share": one.share, "half_width": one.half_width}
            for response, one in tested.items()
        },
        "per_group": [
            {
                "group": group,
                **{response: held.scores(table, response, group).as_dict() for response in UNITS},
            }
            for group in groups[:MOST_LEVELS]
        ],
    }


def _rivals(records: Records, groupings: Mapping[str, Labels]) -> list[dict[str, Any]]:
    table, rows = records.observations(), []
    for name, fitter in rivals().items():
        row: dict[str, Any] = {"name": name}
        try:
            found = fitter(table)(table.input_tokens, table.output_tokens)
        except InputError as error:
            rows.append({**row, "refused": str(error)})
            continue
        row["in_sample"] = {one: scores(getattr(table, one), found[one]).as_dict() for one in UNITS}
        row["held_out"] = {}
        for by, labels in groupings.items():
            held = leave_groups_out(table, labels, fitter)
            row["held_out"][by] = {one: held.scores(table, one).as_dict() for one in UNITS}
        rows.append(row)
    return rows


def _by_factor(records: Records, response: str, fitted: np.ndarray) -> dict[str, list[dict[str, Any]]]:
    """Return, by factor, the relative residuals of each level; token counts of many values go by powers of two."""
    off = fitted / getattr(records.observations(), response) - 1.0
    found = {}
    for name in ("input_tokens", "output_tokens", *records.factors):
        labels = records.labels(name)
        if len(set(labels.tolist())) > MOST_LEVELS:
            if name not in ("input_tokens", "output_tokens", "batch"):
                continue
            labels = _octaves(records.table[name].cast(pl.Float64).to_numpy())
        if len(set(labels.tolist())) < 2:
            continue
        found[name] = [
            {
                "level": level,
                "rows": int(np.sum(labels == level)),
                "mean": float(off[labels == level].mean()),
                "median_ape": float(np.median(np.abs(off[labels == level]))),
            }
            for level in dict.fromkeys(labels.tolist())
        ]
    return found


def _octaves(values: np.ndarray) -> Labels:
    low = np.exp2(np.floor(np.log2(np.maximum(values, 1.0))))
    return np.array([f"{a:g} to {2 * a:g}" for a in low], dtype=np.str_)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
