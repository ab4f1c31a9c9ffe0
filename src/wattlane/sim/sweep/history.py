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
from wattlane.sim import fleet, replica
from wattlane.sim.fleet import Replay
from wattlane.sim.sweep.points import POWER, Floats, Point, Step

NO_LIMIT_W = 1e30
# Taken off the joules; an iteration of negative ones is none the kernel knows, so their unit is -1.
LESS = (it.HOST_LESS_W, it.LAYER_LESS_W)
MARGIN = 1e-9  # closer to the limit than this an iteration is left to the kernel


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

    def prices(self, point: Point) -> bool:
        """Whether the power limit of `point` binds in no iteration, so that the history is its history too.

        An empty iteration counts, which sets what is shared equally.
        """
        limit_w = point.law[it.LIMIT_W] * (1.0 - MARGIN)
        empty_s, empty_j = it.cost(point.law, 0.0, 0.0, 0.0, 0.0)
        if empty_j >= limit_w * empty_s:
            return False
        coefficients = self.coefficients(point)
        return all(len(w) == 0 or float((w @ coefficients).max()) < limit_w for w in self.watts)


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


def repriced(history: History, point: Point) -> dict[str, float]:
    """Return the row of `point` from the history."""
    coefficients = history.coefficients(point)
    prefill_j, decode_j = history.phases_j @ coefficients
    watts = [w @ coefficients for w in history.watts]
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
    totals = {}
    idle_j = 0.0
    for name, series in given.items():
        if series is None:
            continue
        total = idle = 0.0
        for r, w in zip(run.replicas, watts, strict=True):
            starts, ends = r.record[:, replica.START_S], r.record[:, replica.END_S]
            quiet, wakes = np.concatenate([[start_s], ends]), np.concatenate([starts, [end_s]])
            parks = np.minimum(quiet + point.park_after_s, wakes)
            at = series.integral
            total += float(np.dot(w, at(ends) - at(starts)))
            idle += point.law[it.IDLE_W] * float(np.sum(at(parks) - at(quiet)))
            idle += point.park_w * float(np.sum(at(wakes) - at(parks)))
        totals[name] = total + idle
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
