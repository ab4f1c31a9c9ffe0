"""Run every point of a sweep, in threads or on a cluster; rows come in the order given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from wattlane.core.errors import InputError
from wattlane.core.types import Slo
from wattlane.core.workload import Workload
from wattlane.sim.sweep.history import read_from, recorded, repriced, served
from wattlane.sim.sweep.points import POWER, Point
from wattlane.sim.sweep.spread import Spread, in_threads

Row = dict[str, object]
Report = Callable[[str, int, int, str], None]
PAYS_FROM = len(POWER) + 2  # points that share a history: below, replaying each is less work than recording it
MOST = 512  # points of one job, so that many of one history are still work for several


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


def run_sweep(
    workload: Workload,
    points: Sequence[Point],
    slo: Slo | None = None,
    *,
    replay_all: bool = False,
    spread: Spread = in_threads,
    known: Mapping[str, Row] | None = None,
    keep: Callable[[list[Row]], None] | None = None,
    report: Report | None = None,
) -> Sweep:
    """Return one row for each of `points`, all replays of `workload`.

    Points that differ in power coefficients, or in power limits that never bind, share one timing history, and are
    re-priced where at least 10 do. Points that differ only in idle and parked watts, prices and carbon share one replay
    even where the limit binds. Everything else is replayed.

    Args:
        replay_all: replay every point by itself, which gives the same rows to 1e-12.
        spread: where the work is done: threads of this machine, or `wattlane.sim.sweep.on_ray`.
        known: rows of an earlier call, by name, which are not worked out again.
        keep: is given the rows of every piece of work as it ends.
        report: is told ("points", done, of, "") as they end.

    Raises:
        InputError: no points, two of one name, or a point that cannot be replayed.
    """
    names = [point.name for point in points]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if not points or twice:
        raise InputError(f"sweep of {len(points)} points, named twice: {twice}; expected at least one, each named once")
    rows = {name: row for name, row in (known or {}).items() if name in set(names)}
    shared = (workload, slo or Slo())

    def gather(work: Callable[[tuple[Workload, Slo], list[Point]], list[Row]], jobs: list[list[Point]]) -> None:
        # who shares a job does not depend on what is known: a sweep taken up again gives the rows of an unbroken one
        missing = [job for job in jobs if any(point.name not in rows for point in job)]
        for found in spread(work, shared, missing):
            rows.update({str(row["name"]): row for row in found})
            if keep is not None and found:
                keep(found)
            if report is not None:
                report("points", len(rows), len(points), "")

    histories = [] if replay_all else _jobs(points, "timing", PAYS_FROM)
    gather(_from_history, histories)
    tried = {point.name for job in histories for point in job}
    left = [p for p in points if p.name not in tried or not rows.get(p.name, {}).get("from_history", False)]
    # whatever the limit does, idle watts and prices move no iteration and none of its joules
    alike = [[point] for point in left] if replay_all else _jobs(left, "serving", 1)
    gather(_replayed, alike)
    table = pl.DataFrame([rows[name] for name in names], infer_schema_length=None)
    return Sweep(table.drop("from_history"))


def _jobs(points: Sequence[Point], key: str, least: int) -> list[list[Point]]:
    """Return points of one `key` together, those of at least `least`, in jobs of at most `MOST`."""
    groups: dict[tuple[object, ...], list[Point]] = {}
    for point in points:
        groups.setdefault(getattr(point, key), []).append(point)
    out = []
    for group in groups.values():
        parts = -(-len(group) // MOST)
        if len(group) >= least:
            out += [group[i::parts] for i in range(parts)]
    return out


def _from_history(shared: tuple[Workload, Slo], group: list[Point]) -> list[Row]:
    """Record the history of a group and re-price who may be; the others are left out."""
    workload, slo = shared
    history = recorded(workload, group, slo)
    found = [(point.name, repriced(history, point)) for point in group]
    return [{"name": name, "repriced": True, "from_history": True, **row} for name, row in found if row is not None]


def _replayed(shared: tuple[Workload, Slo], group: list[Point]) -> list[Row]:
    """Replay the first point of a group and read all of them from it."""
    workload, slo = shared
    one = served(workload, group[0], slo)
    rows = []
    for point in group:
        how = {"repriced": point is not group[0], "from_history": False}
        rows.append({"name": point.name, **how, **read_from(one, point)})
    return rows
