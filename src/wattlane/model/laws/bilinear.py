"""Wilkins' bilinear law: energy and runtime of one request on one system from its token counts.

    e(in, out) = a0·in + a1·out + a2·in·out      [J]
    r(in, out) = b0·in + b1·out + b2·in·out      [s]

Ordinary least squares, without intercept as published, or with one. (Wilkins, Keshav, Mortier 2024, arXiv 2407.04014.)
Least squares follows the few largest runs: R² can be high while short requests are badly off or below zero, which is
why a fit carries relative errors and the number of negative predictions beside R². The non-negative fits of relative
errors (`relative`, `robust`) keep the form and lose both faults. A fit holds for its own system, engine and range only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from wattlane.model import law_files, request_files
from wattlane.model.observations import Observations
from wattlane.model.request_fitting import fit_side, fitted_range
from wattlane.model.request_law import BILINEAR, Quality, RequestFit, Side, design

LAW = "bilinear"
NAMES = {"energy_j": ("a0", "a1", "a2"), "runtime_s": ("b0", "b1", "b2")}

__all__ = ["BilinearFit", "Quality", "Side", "design", "fit_bilinear", "read_bilinear", "write_bilinear"]


@dataclass(frozen=True, eq=False, slots=True)
class BilinearFit(RequestFit):
    """A fitted bilinear law of one model on one system; `range` holds (lowest, highest) tokens of the fitted rows."""

    law: ClassVar[str] = LAW


def fit_bilinear(
    table: Observations,
    model: str,
    *,
    intercept: bool = False,
    method: str = "ols",
    kv_cache: bool | None = None,
    earlier: RequestFit | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> BilinearFit:
    """Fit both sides, by default as published: ordinary least squares; `pooled` starts from an `earlier` law.

    Raises:
        UnknownNameError: no such method.
        InputError: fewer rows than coefficients + 1, token counts that do not tell the terms apart, or an intercept in
            a relative fit.
    """
    energy, runtime = (fit_side(table, name, BILINEAR, method, intercept, earlier) for name in NAMES)
    return BilinearFit(model, energy, runtime, fitted_range(table), provenance or {}, method, kv_cache)


def write_bilinear(fit: BilinearFit, path: Path) -> None:
    """Write a law file: coefficients under their names, range, and under `fit` what the interval needs."""
    request_files.write_law(fit, NAMES, path)


def read_bilinear(path: Path) -> BilinearFit:
    """Read a law file; one with coefficients and range alone is enough, its intervals are then unbounded.

    Raises:
        FileFormatError: another kind of file or another law.
        InputError: missing or non-numeric coefficients, a range that is none; all reported together.
    """
    body = law_files.read_body(path, LAW)
    return BilinearFit(**request_files.parts(body, NAMES, BILINEAR, path))
