"""Constant power: every busy GPU draws the same share of its TDP, whatever it runs.

    P = share · TDP · GPUs

Published uses: the TDP itself (share 1), 86 % of it, and the median of the data at hand (`fit_constant`). The weakest
rival that a law of power must beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from wattlane.core.errors import InputError
from wattlane.model.calibration import Point
from wattlane.model.law import Traits
from wattlane.model.law_files import read_parameters, write_parameters
from wattlane.model.laws.phase import Case
from wattlane.model.serving import POWER, Load, left_out_spread
from wattlane.model.spread import Spread

LAW = "constant"
PARAMETERS = ("share",)
TDP_SHARE = 1.0
USUAL_SHARE = 0.86  # "86 % of TDP", as several estimators take it


@dataclass(frozen=True, slots=True)
class Constant:
    """A fixed share of TDP."""

    share: float
    spread: Spread = field(default_factory=Spread)
    traits: ClassVar[Traits] = POWER

    def power_w(self, case: Case, load: Load) -> float:  # noqa: ARG002 - the load does not matter, which is the point
        """Return the watts of all GPUs of the replica."""
        return self.share * case.gpu.tdp_w * case.tensor_parallel


def fit_constant(points: Sequence[Point]) -> Constant:
    """Return the median share of TDP over the points, with its error on left-out groups.

    Raises:
        InputError: no points.
    """
    law = _median(points)
    return replace(law, spread=left_out_spread(_median, points))


def _median(points: Sequence[Point]) -> Constant:
    if not points:
        raise InputError("constant: found no points; expected at least one")
    return Constant(float(np.median([p.power_w / (p.num_gpus * p.gpu.tdp_w) for p in points])))


def write_constant(law: Constant, path: Path) -> None:
    """Write a law file."""
    write_parameters(path, LAW, {name: getattr(law, name) for name in PARAMETERS}, law.spread)


def read_constant(path: Path) -> Constant:
    """Read a law file; raises what `read_parameters` does."""
    values, spread = read_parameters(path, LAW, PARAMETERS)
    return Constant(**values, spread=spread)
