"""The assignment problem in arrays: m kinds of request, K targets, few linear rows.

    min  Σ_i Σ_k cost[k, i]·x[k, i]
    s.t. Σ_k x[k, i] = requests[i]                      every request once
         Σ_k Σ_i coefficient_r[k, i]·x[k, i] ≤ bound_r  (or ≥), for each row r
         x[k, i] = 0 where cost[k, i] is infinite       pairs that are not admitted
         x integral, not negative

A kind of request is a set of requests with equal lengths and equal limits; merging them is exact, because equal
requests have equal coefficients everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
KEPT = 1e-8  # relative to the bound: a row broken by less is kept
Sense = Literal["<=", ">="]


def weighted(values: Floats, weight: Counts | Floats) -> float:
    """Return Σ values·weight, summed in pairs, without the threads of a BLAS that other work would stall."""
    return float((values * weight).sum())


@dataclass(frozen=True, eq=False, slots=True)
class Row:
    """One linear row. `columns` holds its coefficient per request by target: one number, or one per kind (m,).

    `equation` names the file of `equations` it comes from, `unit` is that of the bound.
    """

    name: str
    equation: str
    columns: Mapping[int, float | Floats]
    sense: Sense
    bound: float
    unit: str

    @property
    def sign(self) -> float:
        """+1 for ≤, −1 for ≥: the sign its price may have."""
        return 1.0 if self.sense == "<=" else -1.0

    @property
    def counted_target(self) -> int | None:
        """The target whose requests this row counts; None for any other row."""
        if len(self.columns) == 1:
            ((target, coefficient),) = self.columns.items()
            if not isinstance(coefficient, np.ndarray) and coefficient == 1.0:
                return target
        return None

    def take(self, which: NDArray[np.intp]) -> Row:
        """Return the row over the chosen kinds."""
        columns = {k: v[which] if isinstance(v, np.ndarray) else v for k, v in self.columns.items()}
        return Row(self.name, self.equation, columns, self.sense, self.bound, self.unit)

    def is_kept(self, x: Counts) -> bool:
        """Return whether an assignment keeps the row, but for rounding error."""
        size = Row(self.name, self.equation, {k: np.abs(v) for k, v in self.columns.items()}, "<=", 0.0, "").load(x)
        return self.sign * (self.load(x) - self.bound) <= KEPT * max(abs(self.bound), size)

    def load(self, x: Counts | Floats) -> float:
        """Return the left side at an assignment x of shape (K, m)."""
        parts = (
            weighted(v, x[k]) if isinstance(v, np.ndarray) else v * float(x[k].sum()) for k, v in self.columns.items()
        )
        return float(sum(parts))


@dataclass(frozen=True, eq=False, slots=True)
class Problem:
    """`cost` is (K, m), infinite where a pair is not admitted; `requests` is (m,), how many of each kind."""

    cost: Floats
    requests: Counts
    rows: tuple[Row, ...]
    targets: tuple[str, ...]

    @property
    def pairs(self) -> int:
        """Pairs of a kind and a target."""
        return self.cost.size

    @property
    def counts_only(self) -> bool:
        """Whether every row counts the requests of one target: then the linear program has integral vertices."""
        return all(row.counted_target is not None for row in self.rows)

    def take(self, which: NDArray[np.intp]) -> Problem:
        """Return the problem over the chosen kinds, with the same bounds."""
        rows = tuple(row.take(which) for row in self.rows)
        return Problem(self.cost[:, which], self.requests[which], rows, self.targets)

    def objective(self, x: Counts) -> float:
        """Return Σ cost·x; pairs without requests count nothing, even where they are not admitted."""
        return float(np.multiply(self.cost, x, out=np.zeros(x.shape), where=x > 0).sum())

    def bounds_on_counts(self) -> tuple[Floats, Floats]:
        """Return the least and greatest number of requests of each target that the counting rows allow."""
        least, most = np.zeros(len(self.targets)), np.full(len(self.targets), np.inf)
        for row in self.rows:
            k = row.counted_target
            if k is not None and row.sense == "<=":
                most[k] = min(most[k], row.bound)
            elif k is not None:
                least[k] = max(least[k], row.bound)
        return least, most
