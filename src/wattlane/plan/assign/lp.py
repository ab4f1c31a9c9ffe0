"""The problem as a text any solver reads: CPLEX's LP format, one variable x_k_i a pair, in a fixed order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wattlane.plan.assign.problem import Problem, Row

WIDTH = 6  # terms a line


def lp_text(problem: Problem) -> str:
    """Return the program; variables are general integers, pairs that are not admitted are fixed at 0."""
    targets, m = problem.cost.shape
    admitted = np.isfinite(problem.cost)
    cost = [(float(problem.cost[k, i]), k, i) for k in range(targets) for i in range(m) if admitted[k, i]]
    lines = ["\\ targets: " + ", ".join(f"{k} {name}" for k, name in enumerate(problem.targets)), "minimize", " obj:"]
    lines += _wrapped(cost)
    lines.append("subject to")
    for i in range(m):
        lines += [f" once_{i}:", *_wrapped([(1.0, k, i) for k in range(targets)]), f"  = {problem.requests[i]}"]
    for r, row in enumerate(problem.rows):
        lines += [f" r{r}_{_plain(row.name)}:", *_wrapped(list(_terms(row, m))), f"  {row.sense} {row.bound:.12g}"]
    lines.append("bounds")
    lines += [
        f" 0 <= x_{k}_{i} <= {problem.requests[i] if admitted[k, i] else 0}" for k in range(targets) for i in range(m)
    ]
    lines += ["general", *(" " + " ".join(f"x_{k}_{i}" for i in range(m)) for k in range(targets)), "end"]
    return "\n".join(lines) + "\n"


def _terms(row: Row, m: int) -> Iterator[tuple[float, int, int]]:
    for k, coefficient in sorted(row.columns.items()):
        values = np.broadcast_to(coefficient, m)
        yield from ((float(values[i]), k, i) for i in range(m))


def _wrapped(terms: list[tuple[float, int, int]]) -> list[str]:
    words = [f"{'-' if value < 0 else '+'} {abs(value):.12g} x_{k}_{i}" for value, k, i in terms]
    return ["  " + " ".join(words[start : start + WIDTH]) for start in range(0, len(words), WIDTH)]


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name).strip("_")
