"""From cells to figures: medians over seeds with their range, savings paired by seed, and who is ranked.

Over five seeds the range of all of them holds the median with probability 1 − 2/32. A saving is always against the
default on the same requests, and stands beside its attainment. A controller is ranked at a load where the median of
its attainment keeps the SLO.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

SPREAD = (
    "energy_j_per_good_token",
    "energy_j_per_request",
    "attainment",
    "ttft_p50_s",
    "ttft_p99_s",
    "tbt_p50_s",
    "tbt_p99_s",
    "mean_power_w",
    "busy_share",
)
PARTS = ("prefill_j", "decode_j", "idle_j", "reconfiguration_j", "tail_j")
Cells = Sequence[dict[str, Any]]


def spread(values: Iterable[float | None]) -> dict[str, float] | None:
    """Return the median and the range of the values, None if one of them is absent."""
    found = list(values)
    if not found or any(value is None for value in found):
        return None
    numbers = [float(value) for value in found if value is not None]
    return {"median": float(np.median(numbers)), "lo": min(numbers), "hi": max(numbers)}


def saved(own: float | None, other: float | None) -> float | None:
    """Return the part of `other` that `own` does without; negative where it needs more."""
    return None if own is None or not other else 1.0 - own / other


def without_tail(cell: dict[str, Any]) -> float | None:
    """Return the joules for each SLO-meeting token without the idle time after the last one."""
    good = cell["good_tokens"]
    return (cell["energy_j"] - cell["tail_j"]) / good if good else None


def rows_of(cells: Cells, default: str, target: float) -> list[dict[str, Any]]:
    """Return one row a controller from the cells of one place (traffic and load), ranked ones first, best first."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for cell in cells:
        by_name.setdefault(cell["controller"], []).append(cell)
    against = {cell["seed"]: cell for cell in by_name[default]}
    rows = [_row(name, own, against, target) for name, own in by_name.items()]
    rows.sort(key=lambda row: (not row["ranked"], _median(row["energy_j_per_good_token"])))
    ranked = 0
    for row in rows:
        ranked += row["ranked"]
        row["rank"] = ranked if row["ranked"] else None
    return rows


def _median(found: dict[str, float] | None) -> float:
    return np.inf if found is None else found["median"]


def _row(name: str, own: Cells, against: dict[int, dict[str, Any]], target: float) -> dict[str, Any]:
    each = "energy_j_per_good_token"
    pairs = [(cell, against[cell["seed"]]) for cell in own]
    total = sum(cell["energy_j"] for cell in own)
    row: dict[str, Any] = {"controller": name}
    row |= {key: spread(cell[key] for cell in own) for key in SPREAD}
    row["saving"] = spread(saved(cell[each], other[each]) for cell, other in pairs)
    row["saving_without_tail"] = spread(saved(without_tail(cell), without_tail(other)) for cell, other in pairs)
    row["shares"] = {key.removesuffix("_j"): sum(cell[key] for cell in own) / total for key in PARTS}
    row["refused"] = sum(cell["refused"] for cell in own)
    attained = row["attainment"]
    row["ranked"] = attained is not None and attained["median"] >= target
    return row


def losses(cells: Cells, default: str, target: float) -> list[dict[str, Any]]:
    """Return where a controller lost: every place in which it needed more energy than the default, or missed the SLO.

    Counts are of seeds; `worst_saving` and `least_attainment` are the worst of them.
    """
    each = "energy_j_per_good_token"
    against = {(c["traffic"], c["load"], c["seed"]): c for c in cells if c["controller"] == default}
    groups: dict[tuple[str, float, str], list[tuple[float | None, float]]] = {}
    for cell in cells:
        other = against[cell["traffic"], cell["load"], cell["seed"]]
        place = (cell["traffic"], cell["load"], cell["controller"])
        groups.setdefault(place, []).append((saved(cell[each], other[each]), cell["attainment"]))
    rows = []
    for (traffic, load, name), found in groups.items():
        savings = [saving for saving, _ in found if saving is not None]
        dearer = sum(saving < 0 for saving in savings)
        missed = sum(attained < target for _, attained in found)
        if dearer or missed:
            row = {"traffic": traffic, "load": load, "controller": name, "seeds": len(found)}
            worst = min(savings) if savings else None
            rows.append(
                {**row, "dearer": dearer, "missed": missed, "worst_saving": worst}
                | {"least_attainment": min(attained for _, attained in found)}
            )
    return rows


def percentiles(values: Sequence[float | None]) -> dict[str, float] | None:
    """Return the 10th, 50th and 90th percentile, None if a value is absent."""
    if not values or any(value is None for value in values):
        return None
    p10, p50, p90 = np.quantile([float(value) for value in values if value is not None], [0.1, 0.5, 0.9]).tolist()
    return {"p10": p10, "p50": p50, "p90": p90}
