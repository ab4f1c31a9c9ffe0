"""Fit a law of whole requests to a table of measured runs, by the name of the law."""

from __future__ import annotations

from pathlib import Path

from wattlane.core.errors import UnknownNameError
from wattlane.core.files import sha256
from wattlane.core.provenance import Provenance
from wattlane.model.laws.bilinear import BilinearFit, fit_bilinear
from wattlane.model.observations import read_observations

LAWS = {"bilinear": fit_bilinear}


def fit_table(table: Path, law: str, *, model: str, intercept: bool = False) -> BilinearFit:
    """Return `law` fitted to the rows of `table` (see `wattlane.model.observations`).

    Raises:
        UnknownNameError: no such law.
        InputError: rows that cannot be used, or too few.
    """
    if law not in LAWS:
        raise UnknownNameError("law", law, LAWS, "The phase law is fitted by tools/fit_profiles.py.")
    provenance = Provenance(inputs={table.name: sha256(table)}).as_dict()
    return LAWS[law](read_observations(table), model, intercept=intercept, provenance=provenance)
