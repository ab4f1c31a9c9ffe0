"""Analysis of variance of type II, with interactions, for balanced and unbalanced tables of categorical factors.

The sum of squares of a term is what it explains beyond all terms that do not contain it: a main effect is judged beside
the other main effects, an interaction beside everything of lower order. The F statistic divides by the residual mean
square of the model with all terms. Source: Yates 1934; Langsrud, Statistics and Computing 13 (2003), 163-167.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wattlane.core.errors import InputError
from wattlane.measure.phases.tails import f_tail

Vector = NDArray[np.float64]
RANK_TOLERANCE = 1e-9
RESIDUAL = "residual"


@dataclass(frozen=True, slots=True)
class AnovaRow:
    """One term: its sum of squares (unit of y, squared), degrees of freedom, F and p; the residual has no F."""

    term: str
    sum_of_squares: float
    dof: int
    f_statistic: float | None = None
    p_value: float | None = None


def type_two(y: ArrayLike, factors: Mapping[str, Sequence[object]], terms: Sequence[tuple[str, ...]]) -> list[AnovaRow]:
    """Return one row a term, in the order of `terms`, and the residual last.

    Args:
        y: (n,) response.
        factors: by name, the level of each of the n rows.
        terms: names of factors; a tuple of several is their interaction.

    Raises:
        InputError: a factor of one level, an unknown factor, lengths that differ, or no degree of freedom left.
        MissingExtraError: scipy is not installed.
    """
    values = np.asarray(y, dtype=float)
    _check(values, factors, terms)
    coded = {name: _dummies(levels) for name, levels in factors.items()}
    columns = {term: functools.reduce(_products, (coded[name] for name in term)) for term in terms}
    whole = _basis(np.column_stack([np.ones(len(values)), *columns.values()]))
    rest = values - whole @ (whole.T @ values)
    dof, rss = len(values) - whole.shape[1], float(rest @ rest)
    if dof < 1:
        raise InputError(
            f"found {len(values)} rows for {whole.shape[1]} cells of {', '.join(factors)}; expected repeats: "
            "without them nothing is left to judge the terms by; leave the interaction out or pool more runs"
        )
    rows = []
    for term in terms:
        base = [columns[other] for other in terms if not set(term) <= set(other)]
        below = _basis(np.column_stack([np.ones(len(values)), *base]))
        added = _basis(columns[term] - below @ (below.T @ columns[term]), like=columns[term])
        square, used = float(((added.T @ (values - below @ (below.T @ values))) ** 2).sum()), added.shape[1]
        statistic = (square / used) / (rss / dof) if used and rss > 0 else math.inf
        name = ":".join(term)
        rows.append(AnovaRow(name, square, used, statistic, f_tail(statistic, used, dof) if used else None))
    return [*rows, AnovaRow(RESIDUAL, rss, dof)]


def _check(y: Vector, factors: Mapping[str, Sequence[object]], terms: Sequence[tuple[str, ...]]) -> None:
    problems = [
        f"{name} has {len(levels)} rows; expected {len(y)}" for name, levels in factors.items() if len(levels) != len(y)
    ]
    problems += [
        f"{name} has one level, {next(iter(set(levels)))!r}; expected at least two"
        for name, levels in factors.items()
        if len(set(levels)) == 1
    ]
    unknown = {name for term in terms for name in term} - set(factors)
    problems += [f"{name} is no factor; found {', '.join(factors)}" for name in sorted(unknown)]
    if problems:
        raise InputError.gathered("analysis of variance", problems)


def _dummies(levels: Sequence[object]) -> Vector:
    """Return deviations from the first level, centred, shape (n, levels − 1)."""
    names = list(dict.fromkeys(levels))
    index = np.array([names.index(level) for level in levels])
    coded = (index[:, None] == np.arange(1, len(names))).astype(float)
    return coded - coded.mean(axis=0)


def _products(a: Vector, b: Vector) -> Vector:
    return np.asarray((a[:, :, None] * b[:, None, :]).reshape(len(a), -1))


def _basis(x: Vector, like: Vector | None = None) -> Vector:
    """Return an orthonormal basis of the columns of `x`; what is below a share of the size of `like` counts as 0."""
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    size = np.linalg.norm(x if like is None else like, ord=2)
    return u[:, s > RANK_TOLERANCE * size] if size > 0 else u[:, :0]
