"""Run every point of a sweep, in threads: the kernels release the interpreter's lock. Rows come in the order given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from wattlane.core.errors import InputError
from wattlane.core.pool import workers
from wattlane.core.types import Slo
from wattlane.core.workload import Workload
from wattlane.sim.sweep.history import History, read_from, recorded, repriced, served
from wattlane.sim.sweep.points import POWER, Point

PAYS_FROM = len(POWER) + 2  # points that share a history: below, replaying each is less work than recording it


@dataclass(frozen=True, eq=False)
class Sweep:
    """One row a point: `name`, `repriced`, joules by part, attainment, median TTFT, and cost and carbon where asked."""

    table: pl.DataFrame

    @property
    def repriced(self) -> int:
        """Points that were re-priced and not replayed."""
        return int(self.table["repriced"].sum())

    def __str__(self) -> str:
        return f"{len(self.table):,} points: {self.repriced:,} re-priced, {len(self.table) - self.repriced:,} replayed"


def run_sweep(workload: Workload, points: Sequence[Point], slo: Slo | None = None, pays_from: int = PAYS_FROM) -> Sweep:
    """Return one row for each of `points`, all replays of `workload`.

    Points that differ in power coefficients, or in power limits that never bind, share one timing history, and are
    re-priced where at least `pays_from` do. Points that differ only in idle and parked watts, prices and carbon share
    one replay even where the limit binds. Everything else is replayed; all is if `pays_from` is above their number.

    Raises:
        InputError: no points, two of one name, or a point that cannot be replayed.
    """
    names = [point.name for point in points]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if not points or twice:
        raise InputError(f"sweep of {len(points)} points, named twice: {twice}; expected at least one, each named once")
    slo = slo or Slo()
    shared = [group for group in _groups(points, "timing") if len(group) >= pays_from]
    with workers() as pool:
        histories = pool.map(lambda group: recorded(workload, group, slo), shared)
        known = {group[0].timing: history for group, history in zip(shared, histories, strict=True)}
        rows: dict[str, dict[str, object]] = {}
        left = []
        for point, row in zip(points, pool.map(lambda p: _repriced(known.get(p.timing), p), points), strict=True):
            if row is None:
                left.append(point)
            else:
                rows[point.name] = row
        # whatever the limit does, idle watts and prices move no iteration and none of its joules
        alike = _groups(left, "serving") if pays_from <= len(points) else [[point] for point in left]
        for found in pool.map(lambda group: _replayed(workload, group, slo), alike):
            rows.update(found)
    return Sweep(pl.DataFrame([rows[name] for name in names], infer_schema_length=None))


def _groups(points: Sequence[Point], key: str) -> list[list[Point]]:
    groups: dict[tuple[object, ...], list[Point]] = {}
    for point in points:
        groups.setdefault(getattr(point, key), []).append(point)
    return list(groups.values())


def _repriced(history: History | None, point: Point) -> dict[str, object] | None:
    if history is None or not history.prices(point):
        return None
    return {"name": point.name, "repriced": True, **repriced(history, point)}


def _replayed(workload: Workload, group: list[Point], slo: Slo) -> dict[str, dict[str, object]]:
    """Replay the first point of a group and read all of them from it."""
    one = served(workload, group[0], slo)
    return {p.name: {"name": p.name, "repriced": p is not group[0], **read_from(one, p)} for p in group}
