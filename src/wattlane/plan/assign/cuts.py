"""Maximise a concave dual in a few prices by cutting planes.

Every evaluation gives a plane above D; the master program, a linear program in the prices alone, maximises the least
of them inside a box. The next point lies between the best one and the master's (in-out separation, Ben-Ameur and Neto
2007), which keeps the prices from swinging. Stops where the master's value, an upper bound on max D, meets the best D.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wattlane.core.extras import require
from wattlane.plan.assign.lagrangian import Point
from wattlane.plan.assign.problem import Floats

TOLERANCE = 1e-10  # of the scale of the costs
MOST_STEPS = 400
EDGE = 0.99  # of the box: nearer than this is at its edge
INWARD = 0.5  # weight of the best point in the next one


@dataclass(frozen=True, eq=False, slots=True)
class Maximum:
    """The best prices found, D there, and the master's upper bound on D within the box.

    `weights` are those of the planes that meet at the optimum: the mixture of their choices is the fractional plan.
    `at_edge` tells which prices lie on the edge of the box.
    """

    prices: Floats
    value: float
    upper: float
    slope: Floats
    mixture: Floats
    at_edge: bool
    steps: int


class Master:
    """The master program: max θ under planes θ ≤ value_j + slope_j·(μ − μ_j), μ in a box."""

    def __init__(self, low: Floats, high: Floats) -> None:
        highspy = require("highspy")
        self._model = highspy.Highs()
        self._model.setOptionValue("output_flag", False)
        self._model.setOptionValue("threads", 1)
        self._model.setOptionValue("primal_feasibility_tolerance", 1e-10)
        self._model.setOptionValue("dual_feasibility_tolerance", 1e-10)
        self._infinite = highspy.kHighsInf
        self._size = len(low)
        for least, most in zip(low, high, strict=True):
            self._model.addVar(float(least), float(most))
        self._model.addVar(-self._infinite, self._infinite)
        self._model.changeColCost(self._size, 1.0)
        self._model.changeObjectiveSense(highspy.ObjSense.kMaximize)
        self._columns = np.arange(self._size + 1, dtype=np.int32)

    def add(self, at: Floats, value: float, slope: Floats) -> None:
        """Add the plane of one evaluation."""
        self._model.addRow(
            -self._infinite, value - float(slope @ at), self._size + 1, self._columns, np.append(-slope, 1.0)
        )

    def solve(self) -> tuple[Floats, float]:
        """Return the maximiser and the maximum."""
        self._model.run()
        values = np.array(self._model.getSolution().col_value)
        return values[: self._size], float(values[self._size])

    def weights(self) -> Floats:
        """Return the weights of the planes at the last maximum; they are not negative and sum to 1."""
        found = np.abs(np.array(self._model.getSolution().row_dual))
        total = found.sum()
        shares: Floats = found / total if total > 0 else found
        return shares


def maximise(
    function: Callable[[Floats], Point],
    start: Floats,
    low: Floats,
    high: Floats,
    *,
    tolerance: float = TOLERANCE,
    most_steps: int = MOST_STEPS,
) -> Maximum:
    """Maximise `function` over the box from `start`; values are expected to be of order 1."""
    master = Master(low, high)
    slopes = []
    best_at = np.clip(start, low, high)
    best = function(best_at)
    master.add(best_at, best.value, best.slope)
    slopes.append(best.slope)
    upper, steps = np.inf, 1
    inward = INWARD
    outer, upper = master.solve()
    while upper - best.value > tolerance and steps < most_steps:
        at = inward * best_at + (1.0 - inward) * outer
        point = function(at)
        steps += 1
        master.add(at, point.value, point.slope)
        slopes.append(point.slope)
        # a plane that does not cut the master's point off leaves it where it is: step all the way next time
        cuts_off = point.value + float(point.slope @ (outer - at)) < upper - tolerance / 2
        inward = INWARD if cuts_off else 0.0
        if point.value > best.value:
            best, best_at = point, at
        outer, upper = master.solve()
    mixture = master.weights() @ np.array(slopes)
    edge = bool(np.any((best_at <= EDGE * low) & (low < 0)) or np.any((best_at >= EDGE * high) & (high > 0)))
    return Maximum(best_at, best.value, upper, best.slope, mixture, edge, steps)
