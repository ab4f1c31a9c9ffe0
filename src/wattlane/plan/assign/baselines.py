"""Published ways to route, side by side with the plan: one model for all, round robin, random, the released rule.

The released code of Wilkins 2024 sums over the queries twice, so that every query gets the same coefficient per model:
it chooses how many queries go to a model and leaves open which. `count_only` is that rule; the choice of queries is
drawn at random. Baselines are priced with the plan's costs; those that break a row of the plan say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from wattlane.core.errors import InfeasibleError
from wattlane.plan.assign.kinds import Kinds
from wattlane.plan.assign.problem import Counts, Floats, Problem, Row
from wattlane.plan.assign.solve import solve
from wattlane.plan.assign.totals import Totals, totals
from wattlane.plan.assign.values import Case


@dataclass(frozen=True, eq=False, slots=True)
class Baseline:
    """One routing rule: x (K, m), its totals, its cost (None if it uses a pair that is not admitted), broken rows.

    `sums` are Σ (1, terms of its law) by target: all that energy and its error depend on.
    """

    name: str
    x: Counts
    totals: Totals
    objective: float | None
    broken: tuple[str, ...]
    sums: tuple[Floats, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file, without x."""
        return {
            "name": self.name,
            "objective": self.objective,
            **self.totals.as_dict(),
            "counts": self.x.sum(axis=1).tolist(),
            "sums": [line.tolist() for line in self.sums],
            "broken": list(self.broken),
        }


def baselines(case: Case, problem: Problem, seed: int = 0) -> tuple[Baseline, ...]:
    """Return every baseline. Round robin needs the order of arrival and is left out where the kinds do not keep it."""
    return tuple(
        Baseline(name, x, totals(case, x), _objective(problem, x), broken(problem, x), energy_sums(case, x))
        for name, x in _plans(case, problem, np.random.default_rng(seed))
    )


def _plans(case: Case, problem: Problem, random: np.random.Generator) -> Iterator[tuple[str, Counts]]:
    for k, target in enumerate(case.targets):
        yield f"all on {target.name}", single(case.kinds, len(case.targets), k)
    if case.kinds.of_request is not None:
        yield "round robin", round_robin(case.kinds, len(case.targets))
    yield "random", at_random(case.kinds, len(case.targets), random)
    counts = count_only(problem)
    if counts is not None:
        yield "count only", scattered(case.kinds, counts, random)


def single(kinds: Kinds, targets: int, k: int) -> Counts:
    """Return everything on target k."""
    x = np.zeros((targets, len(kinds)), np.int64)
    x[k] = kinds.requests
    return x


def round_robin(kinds: Kinds, targets: int) -> Counts:
    """Return the requests dealt out in order of arrival."""
    assert kinds.of_request is not None
    turn = np.arange(len(kinds.of_request)) % targets
    flat = np.bincount(turn * len(kinds) + kinds.of_request, minlength=targets * len(kinds))
    return flat.reshape(targets, -1).astype(np.int64)


def at_random(kinds: Kinds, targets: int, random: np.random.Generator) -> Counts:
    """Return each request on a target drawn uniformly."""
    return np.ascontiguousarray(random.multinomial(kinds.requests, np.full(targets, 1.0 / targets)).T)


def count_only(problem: Problem) -> Counts | None:
    """Return how many requests each target gets under the released objective, (K,); None if that has no answer.

    Every query costs the same on a target: the mean over all queries. Only rows that count requests can hold.
    """
    if not np.isfinite(problem.cost).all():
        return None
    total = int(problem.requests.sum())
    mean: Floats = problem.cost @ problem.requests / total
    rows: tuple[Row, ...] = tuple(row for row in problem.rows if row.counted_target is not None)
    alike = Problem(mean[:, None], np.array([total]), rows, problem.targets)
    try:
        counts: Counts = solve(alike).x[:, 0]
    except InfeasibleError:
        return None
    return counts


def scattered(kinds: Kinds, counts: Counts, random: np.random.Generator) -> Counts:
    """Return the requests in a random order, the first counts[0] on the first target, and so on."""
    left, rows = kinds.requests.copy(), []
    for count in counts[:-1]:
        drawn = random.multivariate_hypergeometric(left, int(count), method="marginals")
        rows.append(drawn)
        left = left - drawn
    return np.array([*rows, left])


def broken(problem: Problem, x: Counts) -> tuple[str, ...]:
    """Return the rows an assignment does not keep, by name."""
    out = [row.name for row in problem.rows if not row.is_kept(x)]
    if (x[~np.isfinite(problem.cost)] > 0).any():
        out.append("limits of single requests")
    return tuple(out)


def energy_sums(case: Case, x: Counts) -> tuple[Floats, ...]:
    """Return Σ (1, terms) over the requests of each target, of the terms of its law of energy."""
    return tuple(case.kinds.sums(row, target.law.energy_j.terms) for row, target in zip(x, case.targets, strict=True))


def _objective(problem: Problem, x: Counts) -> float | None:
    value = problem.objective(x)
    return value if np.isfinite(value) else None
