"""What a campaign found, cell by cell: means with 95 % intervals over the repeats, and the spread over requests apart.

`sd_over_repeats` is how much a cell's figure moves from trial to trial; `sd_over_requests` how much requests differ
within a trial (root of the mean variance). They answer different questions and are never mixed. The interval of an
energy holds the meter too:

    half = sqrt(max(t · sd / √n, sqrt(Σ random²) / n)² + gain²) + mean of the bounds

Two trials may agree by chance, so that the spread is not taken below the random error of the windows; trials reduce
neither the gain of the sensor nor bounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wattlane.measure.campaigns.cells import Cell
from wattlane.measure.campaigns.grid import Grid, RepeatsSection
from wattlane.measure.campaigns.metrics import METRICS, is_energy
from wattlane.measure.campaigns.rows import OVER_REQUESTS, is_measured, meter_halves
from wattlane.measure.energy.budget import Budget, Z, over_repeats
from wattlane.measure.spread import LEVEL, Spread, spread

if TYPE_CHECKING:
    import polars as pl

KIND = "campaign"
Row = Mapping[str, Any]


def values_of(rows: Sequence[Row], metric: str) -> list[float]:
    """Return the metric of every valid trial that has it."""
    return [float(row[metric]) for row in rows if is_measured(row) and row.get(metric) is not None]


def enough(rows: Sequence[Row], repeats: RepeatsSection) -> str | None:
    """Return why a cell needs no further trial, None when it does."""
    if len(rows) < repeats.at_least:
        return None
    if repeats.is_fixed:
        return f"{repeats.at_least} trials, as asked"
    if len(rows) >= repeats.cap:
        return f"cap of {repeats.cap} trials reached"
    found = spread(values_of(rows, repeats.metric))
    if found is None:
        return f"{repeats.metric} is absent in all {len(rows)} trials; no interval can narrow"
    metered = _over_trials(rows, repeats.metric)
    half = found.half_width if metered is None else metered.random_half
    return f"interval of {repeats.metric} is narrow enough" if _is_narrow(found, half, repeats) else None


def estimate(rows: Sequence[Row], metric: str) -> dict[str, Any] | None:
    """Return mean and interval of a metric over the valid trials, with the parts of it; None where no trial has it."""
    found = spread(values_of(rows, metric))
    if found is None:
        return None
    whole = _over_trials(rows, metric)
    if whole is None:
        return found.as_dict()
    return {**found.as_dict(), "lo": whole.lo, "hi": whole.hi, "error_parts": whole.parts("half")}


def _over_trials(rows: Sequence[Row], metric: str) -> Budget | None:
    """Return the mean energy of the valid trials with the meter's parts; None below two, or for other metrics."""
    good = [row for row in rows if is_measured(row) and row.get(metric) is not None]
    if len(good) < 2 or not is_energy(metric):
        return None
    budgets = []
    for row in good:
        value, halves = float(row[metric]), meter_halves(row)
        each = abs(value)
        bounds = {"bounds": halves.bounds * each} if halves.bounds else {}
        gain = {"sensor_gain": halves.gain * each / Z}
        budgets.append(Budget(value, {"window": halves.random * each / Z}, gain, bounds))
    return over_repeats(budgets)


def _is_narrow(found: Spread, half: float | None, repeats: RepeatsSection) -> bool:
    if half is None:
        return False
    wide = repeats.relative is not None and half > repeats.relative * abs(found.mean)
    return not wide and not (repeats.half_width is not None and half >= repeats.half_width)


def cell_summary(cell: Cell, rows: Sequence[Row], repeats: RepeatsSection, closed: str | None) -> dict[str, Any]:
    """Return a cell's configuration, its trials by status, and its estimates."""
    statuses = [str(row["status"]) for row in rows]
    why = [str(row["reasons"]) for row in rows if not is_measured(row)]
    return {
        **cell.as_dict(),
        "trials": len(rows),
        "statuses": {status: statuses.count(status) for status in sorted(set(statuses))},
        "stopped": closed or enough(rows, repeats),
        "reasons": list(dict.fromkeys(why)),
        "estimates": {metric: estimate(rows, metric) for metric in METRICS},
        "sd_over_requests": {f"{name}_s": _within(rows, f"{name}_sd_over_requests_s") for name in OVER_REQUESTS},
        "energy_status": sorted({str(row["energy_status"]) for row in rows if is_measured(row)}),
        "boundary": sorted({str(row["boundary"]) for row in rows if is_measured(row) and row["boundary"]}),
    }


def _within(rows: Sequence[Row], column: str) -> float | None:
    known = values_of(rows, column)
    return math.sqrt(math.fsum(sd**2 for sd in known) / len(known)) if known else None


def campaign_summary(grid: Grid, cells: Sequence[dict[str, Any]], finished: bool) -> dict[str, Any]:
    """Return the whole of `campaign.json`, less what `write_json` adds."""
    counts: dict[str, int] = {}
    for cell in cells:
        for status, count in cell["statuses"].items():
            counts[status] = counts.get(status, 0) + count
    return {
        "name": grid.name,
        "note": grid.note,
        "complete": finished,
        "cells_asked": len(cells),
        "trials": counts,
        "level": LEVEL,
        "order": grid.order,
        "seed": grid.seed,
        "largest": _largest(grid.ladder, cells),
        "cells": list(cells),
        "grid": grid.model_dump(mode="json"),
    }


def _largest(ladder: str | None, cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """Return, for each combination of the other factors, the largest value of the ladder factor that was measured."""
    if ladder is None:
        return None
    best: dict[tuple[tuple[str, Any], ...], Any] = {}
    for cell in cells:
        if ladder in cell["factors"] and cell["statuses"].get("measured"):
            others = tuple((name, value) for name, value in cell["factors"].items() if name != ladder)
            best[others] = max(best.get(others, cell["factors"][ladder]), cell["factors"][ladder])
    return [{**dict(others), ladder: value} for others, value in best.items()]


def table_of(rows: Sequence[Row]) -> pl.DataFrame:
    """Return `campaign.parquet`: the union of all columns; a column of mixed kinds becomes text."""
    import polars as pl

    columns: dict[str, list[Any]] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        kinds = {type(value) for value in values if value is not None}
        if kinds <= {int, float} and float in kinds:
            values = [None if value is None else float(value) for value in values]
        elif len(kinds) > 1:
            values = [None if value is None else str(value) for value in values]
        columns[name] = values
    return pl.DataFrame(columns, infer_schema_length=None)
