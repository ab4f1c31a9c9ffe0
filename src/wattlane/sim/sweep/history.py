"""One timing history, re-priced: joules are linear in the power coefficients wherever the power limit does not bind.

The history is replayed once for each coefficient that is used, with that one at 1 and the others at 0. A point is then
a sum over coefficients of joules and watts: for every iteration, every request and both phases, without a kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wattlane.core.types import Slo
from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.model.jit import kernel
from wattlane.sim import fleet, replica
from wattlane.sim.fleet import Replay
from wattlane.sim.sweep.points import POWER, Floats, Point, Step

NO_LIMIT_W = 1e30
# Taken off the joules; an iteration of negative ones is none the kernel knows, so their unit is -1.
LESS = (it.HOST_LESS_W, it.LAYER_LESS_W)
MARGIN = 1e-9  # closer to the limit than this an iteration is left to the kernel


@kernel
def _between(t_s: np.ndarray, per_j: np.ndarray, at: int, begin_s: float, end_s: float) -> tuple[float, int]:
    """Return ∫ per_j dt from `begin_s` to `end_s`, and the step that `begin_s` is in; `at` is that step or before."""
    while at + 1 < t_s.size and t_s[at + 1] <= begin_s:
        at += 1
    step, total = at, 0.0
    while step + 1 < t_s.size and t_s[step + 1] < end_s:
        total += per_j[step] * (t_s[step + 1] - begin_s)
        step += 1
        begin_s = t_s[step]
    return total + per_j[step] * (end_s - begin_s), at


@kernel
def priced_over_time(
    record: np.ndarray,
    watts: np.ndarray,
    t_s: np.ndarray,
    per_j: np.ndarray,
    start_s: float,
    end_s: float,
    rest: np.ndarray,
) -> tuple[float, float]:
    """Return the joules of one replica from `start_s` to `end_s`, each times the step it falls in: busy, and quiet.

    Args:
        record: (iterations, 4) of `wattlane.sim.replica`.
        watts: (iterations,).
        t_s, per_j: (k,) a step function, see `Step`.
        rest: idle watts, seconds after which it is parked, and parked watts.
    """
    busy = quiet = 0.0
    before_s, at = start_s, 0
    for i in range(record.shape[0] + 1):
        wakes_s = record[i, replica.START_S] if i < record.shape[0] else end_s
        if wakes_s > before_s:
            parks_s = min(before_s + rest[1], wakes_s)
            idle, at = _between(t_s, per_j, at, before_s, parks_s)
            parked, at = _between(t_s, per_j, at, parks_s, wakes_s)
            quiet += rest[0] * idle + rest[2] * parked
        if i < record.shape[0]:
            before_s = record[i, replica.END_S]
            spent, at = _between(t_s, per_j, at, wakes_s, before_s)
            busy += watts[i] * spent
    return busy, quiet


@dataclass(frozen=True, eq=False)
class History:
    """When everything happened, and joules by coefficient: watts (iterations, c) a replica; phases (2, c)."""

    run: Replay
    columns: tuple[int, ...]
    watts: tuple[Floats, ...]
    phases_j: Floats
    attainment: float
    ttft_p50_s: float

    def coefficients(self, point: Point) -> Floats:
        """Return what multiplies each column."""
        return point.law[list(self.columns)] * np.where(np.isin(self.columns, LESS), -1.0, 1.0)

    def watts_of(self, point: Point) -> list[Floats] | None:
        """Return the watts of every iteration of each replica; None if the power limit of `point` binds in one.

        An empty iteration counts, which sets what is shared equally.
        """
        limit_w = point.law[it.LIMIT_W] * (1.0 - MARGIN)
        empty_s, empty_j = it.cost(point.law, 0.0, 0.0, 0.0, 0.0)
        if empty_j >= limit_w * empty_s:
            return None
        coefficients = self.coefficients(point)
        found = [w @ coefficients for w in self.watts]
        return found if all(float(w.max(initial=0.0)) < limit_w for w in found) else None


def recorded(workload: Workload, points: list[Point], slo: Slo) -> History:
    """Return the history that `points` share, for every power coefficient one of them uses."""
    columns = tuple(c for c in POWER if any(p.law[c] != 0.0 for p in points))
    law = points[0].law.copy()
    law[list(POWER)], law[it.IDLE_W], law[it.LIMIT_W] = 0.0, 0.0, NO_LIMIT_W
    runs = []
    for column in columns:
        unit = law.copy()
        unit[column] = -1.0 if column in LESS else 1.0
        runs.append(_replay(workload, points[0], unit))
    base = runs[0] if runs else _replay(workload, points[0], law)
    watts = [
        np.stack([run.replicas[i].record[:, replica.POWER_W] for run in runs], axis=1) if runs else np.zeros((0, 0))
        for i in range(len(base.replicas))
    ]
    phases = [np.sum([r.energy_j.sum(axis=0) for r in run.replicas], axis=0) for run in runs]
    return History(
        base,
        columns,
        tuple(watts),
        np.array(phases).reshape(-1, 2).T,
        fleet.attainment(base, slo),
        _median(fleet.ttft_s(base)),
    )


def _median(values: Floats) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def _replay(workload: Workload, point: Point, law: Floats) -> Replay:
    return fleet.replay(workload, point.deployment, law, point.kv_capacity_tokens, point.kv_block_tokens)


def repriced(history: History, point: Point) -> dict[str, float] | None:
    """Return the row of `point` from the history; None if its power limit binds, so that it must be replayed."""
    watts = history.watts_of(point)
    if watts is None:
        return None
    prefill_j, decode_j = history.phases_j @ history.coefficients(point)
    return _row(point, history.run, watts, float(prefill_j), float(decode_j), history.attainment, history.ttft_p50_s)


@dataclass(frozen=True, eq=False)
class Served:
    """A replay of one point, which every point with the same iterations and joules may be read from."""

    run: Replay
    attainment: float
    ttft_p50_s: float


def served(workload: Workload, point: Point, slo: Slo) -> Served:
    """Return a replay of `point`."""
    run = _replay(workload, point, point.law)
    return Served(run, fleet.attainment(run, slo), _median(fleet.ttft_s(run)))


def read_from(one: Served, point: Point) -> dict[str, float]:
    """Return the row of `point`; it may differ from the one replayed in what quiet time draws and in prices."""
    prefill_j, decode_j = np.sum([r.energy_j.sum(axis=0) for r in one.run.replicas], axis=0)
    watts = [r.record[:, replica.POWER_W] for r in one.run.replicas]
    return _row(point, one.run, watts, float(prefill_j), float(decode_j), one.attainment, one.ttft_p50_s)


def _row(
    point: Point,
    run: Replay,
    watts: list[Floats],
    prefill_j: float,
    decode_j: float,
    attainment: float,
    ttft_p50_s: float,
) -> dict[str, float]:
    """Return what both ways say of a point; the account runs from the first arrival to the last token of all."""
    start_s, end_s = float(run.workload.arrival_s[0]), run.last_end_s
    second = Step(np.array([start_s]), np.ones(1))
    given = {"joules": second, "cost_usd": point.price, "carbon_gco2e": point.carbon}
    rest = np.array([point.law[it.IDLE_W], point.park_after_s, point.park_w])
    totals = {}
    idle_j = 0.0
    for name, series in given.items():
        if series is None:
            continue
        parts = [
            priced_over_time(r.record, w, series.t_s, series.per_j, start_s, end_s, rest)
            for r, w in zip(run.replicas, watts, strict=True)
        ]
        busy, idle = (float(sum(part[i] for part in parts)) for i in (0, 1))
        totals[name] = busy + idle
        if name == "joules":
            idle_j = idle
    return {
        "metered_j": totals.pop("joules"),
        "prefill_j": prefill_j,
        "decode_j": decode_j,
        "idle_j": idle_j,
        "slo_attainment": attainment,
        "ttft_p50_s": ttft_p50_s,
        **totals,
    }
