"""The file of a law of whole requests: coefficients under their names, the range, and what the interval needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from wattlane.core.errors import InputError
from wattlane.model import law_files
from wattlane.model.law_files import is_number
from wattlane.model.request_law import TOKENS, Conformal, Quality, RequestFit, Side
from wattlane.model.spread import Spread

INTERCEPT = "intercept"
Names = Mapping[str, Sequence[str]]


def write_law(fit: RequestFit, names: Names, path: Path) -> None:
    """Write a law file; `names` gives the coefficients of each side their names in the file."""
    body: dict[str, Any] = {"model": fit.model, "method": fit.method, "kv_cache": fit.kv_cache}
    extra: dict[str, Any] = {}
    for name, side in fit.sides.items():
        body[name] = dict(zip(names[name], side.coefficients, strict=True))
        if side.intercept is not None:
            body[name][INTERCEPT] = side.intercept
        if side.covariance is not None:
            extra[name] = {
                "covariance": side.covariance.tolist(),
                "residual_sd": side.residual_sd,
                "relative": side.relative,
                "rows": side.rows,
            }
        if side.quality is not None:
            extra.setdefault(name, {})["quality"] = {k: _finite(v) for k, v in asdict(side.quality).items()}
    body["range"] = {name: list(limits) for name, limits in fit.range.items()}
    if fit.conformal is not None:
        spreads = {name: getattr(fit.conformal, name).as_dict() for name in fit.sides}
        body["conformal"] = {"by": fit.conformal.by, **spreads}
    law_files.write_law(path, fit.law, {**body, "fit": extra, "provenance": dict(fit.provenance)})


def problems_of(body: Mapping[str, Any], names: Names) -> list[str]:
    """Return in words what of a law file's content cannot be used; empty means all can."""
    problems = [] if isinstance(body.get("model"), str) else [f"model is {body.get('model')!r}; expected a name"]
    for side, wanted in names.items():
        found = body.get(side)
        if not isinstance(found, dict):
            problems.append(f"{side} is {found!r}; expected an object with {', '.join(wanted)}")
            continue
        values = {key: found.get(key) for key in wanted} | {k: found[k] for k in (INTERCEPT,) if k in found}
        problems += [f"{side}.{k} is {v!r}; expected a number" for k, v in values.items() if not is_number(v)]
    limits = body.get("range") or {}
    for name in TOKENS if limits else ():
        pair = limits.get(name)
        if not (isinstance(pair, list) and len(pair) == 2 and all(is_number(v) for v in pair) and pair[0] <= pair[1]):
            problems.append(f"range.{name} is {pair!r}; expected [lowest, highest]")
    return problems


def parts(body: Mapping[str, Any], names: Names, terms: Sequence[str], path: Path) -> dict[str, Any]:
    """Return the fields of a `RequestFit` from a law file's content.

    Raises:
        InputError: missing or non-numeric coefficients, a range that is none; all reported together.
    """
    problems = problems_of(body, names)
    if problems:
        raise InputError.gathered(str(path), problems)
    fits = body.get("fit") or {}
    sides = {name: _read_side(body[name], wanted, fits.get(name), tuple(terms)) for name, wanted in names.items()}
    conformal = body.get("conformal")
    return {
        "model": body["model"],
        **sides,
        "range": {name: (float(pair[0]), float(pair[1])) for name, pair in (body.get("range") or {}).items()},
        "provenance": body.get("provenance", {}),
        "method": body.get("method", "ols"),
        "kv_cache": body.get("kv_cache"),
        "conformal": None
        if conformal is None
        else Conformal(str(conformal.get("by")), *(Spread.from_dict(conformal.get(name, {})) for name in names)),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _read_side(
    found: Mapping[str, float], names: Sequence[str], fit: Mapping[str, Any] | None, terms: tuple[str, ...]
) -> Side:
    coefficients = tuple(float(found[name]) for name in names)
    intercept = float(found[INTERCEPT]) if INTERCEPT in found else None
    if fit is None or "covariance" not in fit:
        return Side(coefficients, intercept, terms=terms)
    quality: dict[str, Any] | None = None
    if "quality" in fit:
        quality = {k: math.nan if v is None else v for k, v in fit["quality"].items()}
    return Side(
        coefficients,
        intercept,
        np.array(fit["covariance"], dtype=float),
        float(fit["residual_sd"]),
        int(fit["rows"]),
        None if quality is None else Quality(**quality),
        terms,
        bool(fit.get("relative", False)),
    )
