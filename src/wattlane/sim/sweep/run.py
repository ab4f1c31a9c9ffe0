"""Run every point of a sweep, in threads: the kernels release the interpreter's lock. Rows come in the order given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from wattlane.core.errors import InputError
from wattlane.core.pool import workers
from wattlane.core.types import Slo
from wattlane.core.workload import Workload
from wattlane.sim.sweep.history import History, recorded, replayed, repriced
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

    Points that differ in power coefficients, idle and parked watts, prices, carbon, or power limits that never bind
    share one timing history, and are re-priced where at least `pays_from` do; everything else is replayed in full.

    Raises:
        InputError: no points, two of one name, or a point that cannot be replayed.
    """
    names = [point.name for point in points]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if not points or twice:
        raise InputError(f"sweep of {len(points)} points, named twice: {twice}; expected at least one, each named once")
    slo = slo or Slo()
    groups: dict[tuple[object, ...], list[Point]] = {}
    for point in points:
        groups.setdefault(point.timing, []).append(point)
    shared = [group for group in groups.values() if len(group) >= pays_from]
    with workers() as pool:
        histories = pool.map(lambda group: recorded(workload, group, slo), shared)
        known = {group[0].timing: history for group, history in zip(shared, histories, strict=True)}
        rows = pool.map(lambda point: _one(workload, point, slo, known.get(point.timing)), points)
        return Sweep(pl.DataFrame(list(rows), infer_schema_length=None))


def _one(workload: Workload, point: Point, slo: Slo, history: History | None) -> dict[str, object]:
    if history is not None and history.prices(point):
        return {"name": point.name, "repriced": True, **repriced(history, point)}
    return {"name": point.name, "repriced": False, **replayed(workload, point, slo)}
