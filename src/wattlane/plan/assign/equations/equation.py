"""What an equation is: a name, its formula, and a function from the case and the ask to costs or rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.problem import Floats, Row
from wattlane.plan.assign.values import Case


@dataclass(frozen=True, slots=True)
class Objective:
    """`cost` returns (K, m): what one request of each kind costs on each target, in `unit`."""

    name: str
    formula: str
    unit: str
    cost: Callable[[Case, Ask], Floats]


@dataclass(frozen=True, slots=True)
class Constraint:
    """`rows` returns the rows that the ask demands; none where it does not ask for this limit."""

    name: str
    formula: str
    rows: Callable[[Case, Ask], tuple[Row, ...]]


@dataclass(frozen=True, slots=True)
class Admission:
    """`refused` returns (K, m), true for pairs that may not be; None where the ask has no such limit."""

    name: str
    formula: str
    refused: Callable[[Case, Ask], NDArray[np.bool_] | None]
