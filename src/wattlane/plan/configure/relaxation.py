"""The whole horizon as one linear program, and the prices it puts on GPUs, watts, starting and waking.

Columns: n[t, m], then u[t, s], then v[t, g]. Any prices within their ranges give a valid bound (`bound`); those of the
relaxation are the best there are without whole numbers.
"""

from __future__ import annotations

import numpy as np

from wattlane.core.extras import require
from wattlane.plan.configure import highs
from wattlane.plan.configure.bound import Prices
from wattlane.plan.configure.equations import BLOCKS, LINKS
from wattlane.plan.configure.highs import Program, Solved
from wattlane.plan.configure.problem import Problem


def program(problem: Problem) -> Program:
    """Return the whole horizon as a mixed-integer program; drop `whole` for its relaxation."""
    sparse = require("scipy.sparse")
    bins, modes = problem.mode_cost.shape
    links = {name: link.matrix(problem) for name, link in LINKS.items()}
    wide = [np.zeros((bins, m.shape[0])) for m in links.values()]
    eye = sparse.identity(bins, format="csr")
    behind = sparse.eye(bins, k=-1, format="csr")
    rows, lower, upper = [], [], []
    for block in BLOCKS.values():
        sides = [block.limits(problem, t) for t in range(bins)]
        pad = sum(w.size for w in wide)
        body = sparse.kron(eye, sparse.csr_matrix(block.matrix(problem)))
        rows.append(sparse.hstack([body, sparse.csr_matrix((body.shape[0], pad))]))
        lower.append(np.concatenate([low for low, _ in sides]))
        upper.append(np.concatenate([high for _, high in sides]))
    for i, (name, link) in enumerate(LINKS.items()):
        matrix, first = links[name], np.zeros((bins, links[name].shape[0]))
        first[0] = link.before(problem)
        parts = [sparse.csr_matrix((first.size, w.size)) for w in wide]
        parts[i] = sparse.identity(first.size)
        rows.append(sparse.hstack([sparse.kron(behind - eye, sparse.csr_matrix(matrix)), *parts]))
        lower.append(-first.ravel())
        upper.append(np.full(first.size, np.inf))
    cost = np.concatenate([problem.mode_cost.ravel(), *(link.cost(problem).ravel() for link in LINKS.values())])
    whole = np.concatenate([np.ones(bins * modes, bool), *(np.zeros(w.size, bool) for w in wide)])
    most = np.full(len(cost), np.inf)
    return Program(cost, sparse.vstack(rows).tocsr(), np.concatenate(lower), np.concatenate(upper), most, whole)


def relaxed(problem: Problem, limit_s: float = 1e30) -> tuple[Solved, Prices]:
    """Solve the relaxation; return it with its prices, 0 where it has no solution."""
    whole = program(problem)
    solved = highs.solve(Program(whole.c, whole.a, whole.lower, whole.upper, whole.most, False), limit_s=limit_s)
    bins, gpus = problem.bins, len(problem.gpu_count)
    sizes = [problem.demand_per_s.size, bins * gpus, bins, bins * len(problem.start_j), bins * gpus]
    duals = solved.prices if len(solved.prices) == sum(sizes) else np.zeros(sum(sizes))
    _, fleet, watts, start, wake = np.split(duals, np.cumsum(sizes)[:-1])
    prices = Prices(-fleet.reshape(bins, -1), -watts, start.reshape(bins, -1), wake.reshape(bins, -1))
    return solved, prices.clipped(problem)
