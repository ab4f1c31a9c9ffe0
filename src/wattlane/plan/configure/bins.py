"""One bin between its neighbours: the best whole plan of it, starts into the bin and out of it counted exactly.

Taking bins in turn never makes a plan dearer. Only the modes named are considered, which keeps each program small: the
bound of the whole (`bound`) says what that may cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wattlane.core.extras import require
from wattlane.plan.configure import highs
from wattlane.plan.configure.equations import BLOCKS, LINKS
from wattlane.plan.configure.highs import Program, Status
from wattlane.plan.configure.problem import Floats, Ints, Problem


@dataclass(frozen=True, eq=False)
class Blocks:
    """The rows that are the same in every bin, built once: (rows, M) sparse, and the links (S + G, M)."""

    inside: Any
    links: Any

    @classmethod
    def of(cls, problem: Problem) -> Blocks:
        """Return the blocks of a problem."""
        sparse = require("scipy.sparse")
        inside = np.vstack([block.matrix(problem) for block in BLOCKS.values()])
        links = np.vstack([link.matrix(problem) for link in LINKS.values()])
        return cls(sparse.csr_matrix(inside), sparse.csr_matrix(links))


def sides(problem: Problem, t: int) -> tuple[Floats, Floats]:
    """Return (lower, upper) of the rows of bin t."""
    both = [block.limits(problem, t) for block in BLOCKS.values()]
    return np.concatenate([low for low, _ in both]), np.concatenate([high for _, high in both])


def between(
    problem: Problem,
    blocks: Blocks,
    t: int,
    before: Ints | Floats,
    after: Ints | None,
    rows: Ints,
    *,
    credit: Floats | None = None,
    margin: float,
    nodes: int,
    start: Ints | None = None,
) -> Ints | None:
    """Return the best instances of bin t, (M,), given the linked counts before and after, (S + G,) each.

    Without `after`, `credit` (S + G,) is what one more linked count is worth to the bins to come. `rows` are the modes
    considered, `start` a plan of the bin to better. None where no solution was found within `nodes`.
    """
    sparse = require("scipy.sparse")
    links = blocks.links[:, rows]
    size, modes = links.shape
    parts, costs = [links], [np.concatenate([problem.start_cost[t], problem.wake_cost[t]])]
    tops = [before.astype(float)]
    if after is not None:
        parts.append(-links)
        costs.append(np.concatenate([problem.start_cost[t + 1], problem.wake_cost[t + 1]]))
        tops.append(-after.astype(float))
    extra = len(parts) * size
    inside = sparse.hstack([blocks.inside[:, rows], sparse.csr_matrix((blocks.inside.shape[0], extra))])
    tied = sparse.hstack([sparse.vstack(parts), -sparse.identity(extra)])
    low, high = sides(problem, t)
    m = problem.modes.take(rows)
    most = np.floor(problem.gpu_count[m.gpu] / m.gpus)
    run = problem.mode_cost[t, rows] - (0.0 if credit is None else links.T @ credit)
    program = Program(
        np.concatenate([run, *costs]),
        sparse.vstack([inside, tied]).tocsr(),
        np.concatenate([low, np.full(extra, -np.inf)]),
        np.concatenate([high, *tops]),
        np.concatenate([most, np.full(extra, np.inf)]),
        np.arange(modes + extra) < modes,
    )
    first = None
    if start is not None:
        linked = links @ start[rows]
        slack = [np.maximum(linked - before, 0.0)] + ([np.maximum(after - linked, 0.0)] if after is not None else [])
        first = np.concatenate([start[rows].astype(float), *slack])
    solved = highs.solve(program, margin=margin, nodes=nodes, start=first)
    if solved.status not in {Status.OPTIMAL, Status.STOPPED}:
        return None
    out = np.zeros(len(problem.modes), np.int64)
    out[rows] = np.rint(solved.x[:modes]).astype(np.int64)
    return out
