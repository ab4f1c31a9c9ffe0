"""Which factors the spread of energy and time goes with: type-II analysis of variance with interaction.

Token counts enter as levels, not as numbers, so that no form of law is assumed. Where every combination was run once,
nothing is left to judge the interaction by: it is left out and the table says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from wattlane.core.errors import InputError
from wattlane.model.records import Records
from wattlane.model.statistics.anova import type_two

MOST_LEVELS = 24
INPUT, OUTPUT = "input_tokens", "output_tokens"
TRANSFORMS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {"": lambda y: y, "log ": np.log}


def variance(records: Records, extra: tuple[str, ...] = ("model",)) -> dict[str, Any]:
    """Return the tables by response ("energy_j", "log energy_j", ...), or `refused` with the reason.

    Args:
        records: the runs.
        extra: columns that enter as main effects where they have several levels.
    """
    counts = {name: len(set(records.labels(name).tolist())) for name in (INPUT, OUTPUT)}
    wide = [f"{count} values of {name}" for name, count in counts.items() if count > MOST_LEVELS]
    if wide:
        return {"refused": f"found {' and '.join(wide)}; expected at most {MOST_LEVELS} levels, as in a designed grid"}
    if min(counts.values()) < 2:
        return {"refused": "input or output tokens have one level; expected at least two of each"}
    mains = [name for name in extra if 1 < len(set(records.labels(name).tolist())) <= MOST_LEVELS]
    factors = {name: records.labels(name).tolist() for name in (*mains, INPUT, OUTPUT)}
    terms: list[tuple[str, ...]] = [*((name,) for name in mains), (INPUT,), (OUTPUT,), (INPUT, OUTPUT)]
    table = records.observations()
    tables: dict[str, Any] = {}
    notes: list[str] = []
    for response in ("energy_j", "runtime_s"):
        for prefix, transform in TRANSFORMS.items():
            y = transform(getattr(table, response))
            try:
                rows = type_two(y, factors, terms if not notes else terms[:-1])
            except InputError:
                notes = ["no repeats: the interaction is left out, its spread counts as residual"]
                try:
                    rows = type_two(y, factors, terms[:-1])
                except InputError as error:
                    return {"refused": str(error)}
            tables[f"{prefix}{response}"] = [_finite(asdict(row)) for row in rows]
    return {"tables": tables, "notes": notes}


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()}
