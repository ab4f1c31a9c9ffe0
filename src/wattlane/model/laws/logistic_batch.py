"""Power as a logistic curve in log2 of the batch, one curve a GPU: fleet simulators and the ML.ENERGY toolkit use it.

    P = low + rise / (1 + exp(−k·(log2 batch − x0)))        share of TDP per GPU

The batch is that of the replica. One curve for every model of a GPU, as the simulators ship it: a model never seen has
no curve of its own. Fitted by least squares of log errors, all four parameters bounded so that the curve rises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.core.extras import require
from wattlane.model.calibration import Point
from wattlane.model.law import Traits
from wattlane.model.law_files import read_parameters, write_parameters
from wattlane.model.laws.phase import Case
from wattlane.model.serving import POWER, Load, left_out_spread
from wattlane.model.spread import Spread

LAW = "logistic_batch"
PARAMETERS = ("low", "rise", "steepness", "middle")
LOWEST, HIGHEST = np.array([0.01, 0.0, 0.05, -2.0]), np.array([1.0, 1.0, 5.0, 14.0])
START = np.array([0.3, 0.5, 0.5, 4.0])


@dataclass(frozen=True, slots=True)
class LogisticBatch:
    """Four parameters: `low` and `rise` in shares of TDP, `steepness` per doubling, `middle` in log2 of the batch."""

    low: float
    rise: float
    steepness: float
    middle: float
    spread: Spread = field(default_factory=Spread)
    traits: ClassVar[Traits] = replace(
        POWER, exempt={"scale": "the curve's steepness is fitted, nothing keeps a step of the batch below twofold"}
    )

    def power_w(self, case: Case, load: Load) -> float:
        """Return the watts of all GPUs of the replica."""
        share = _curve(np.array([self.low, self.rise, self.steepness, self.middle]), np.log2([load.batch]))[0]
        return float(share) * case.gpu.tdp_w * case.tensor_parallel


def _curve(x: NDArray[np.float64], log2_batch: NDArray[np.float64]) -> NDArray[np.float64]:
    return x[0] + x[1] / (1.0 + np.exp(-x[2] * (log2_batch - x[3])))


def fit_logistic_batch(points: Sequence[Point]) -> LogisticBatch:
    """Return the curve fitted to the points, with its error on left-out groups.

    Raises:
        InputError: fewer than 5 points.
    """
    return replace(_fit(points), spread=left_out_spread(_fit, points))


def _fit(points: Sequence[Point]) -> LogisticBatch:
    if len(points) <= len(PARAMETERS):
        raise InputError(f"logistic_batch: found {len(points)} points; expected at least {len(PARAMETERS) + 1}")
    log2_batch = np.log2([p.batch for p in points])
    share = np.log([p.power_w / (p.num_gpus * p.gpu.tdp_w) for p in points])
    found = require("scipy.optimize").least_squares(
        lambda x: np.log(_curve(x, log2_batch)) - share, START, bounds=(LOWEST, HIGHEST)
    )
    low, rise, steepness, middle = (float(v) for v in found.x)
    return LogisticBatch(low, rise, steepness, middle)


def write_logistic_batch(law: LogisticBatch, path: Path) -> None:
    """Write a law file."""
    write_parameters(path, LAW, {name: getattr(law, name) for name in PARAMETERS}, law.spread)


def read_logistic_batch(path: Path) -> LogisticBatch:
    """Read a law file; raises what `read_parameters` does."""
    values, spread = read_parameters(path, LAW, PARAMETERS, least=-2.0)
    return LogisticBatch(**values, spread=spread)
