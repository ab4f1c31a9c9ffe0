"""Write the golden LP files of the configuration equations: `python tools/make_configure_goldens.py`.

tests/golden/configure_NAME.lp   the rows of one family of equations over a problem of two bins, as HiGHS writes them;
                                 configure_whole.lp is all of them with the objective
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from wattlane.plan.configure import highs, relaxation
from wattlane.plan.configure.equations import BLOCKS, LINKS
from wattlane.plan.configure.highs import Program
from wattlane.plan.configure.problem import Modes, Problem

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"


def example() -> Problem:
    """Return two bins, two pools, two GPU types, three shapes and three modes, in round numbers."""
    whole = np.array
    return Problem(
        demand_per_s=np.array([[3.0, 1.0], [6.0, 2.0]]),
        bin_s=100.0,
        modes=Modes(
            whole([0, 0, 1]), whole([0, 0, 1]), whole([0, 1, 2]), whole([1, 2, 1]), np.array([2.0, 5.0, 1.5]),
            np.array([400.0, 900.0, 300.0]),
        ),
        gpu_count=whole([4, 2]),
        parked_w=np.array([50.0, 20.0]),
        wake_j=np.array([500.0, 0.0]),
        start_j=np.array([1000.0, 2000.0, 300.0]),
        shape_gpu=whole([0, 0, 1]),
        cap_w=np.array([np.inf, 2500.0]),
        per_j=np.ones((2, 2)),
        per_gpu_bin=np.zeros((2, 2)),
        running=whole([1, 0, 0]),
    )  # fmt: skip


def columns(problem: Problem) -> list[str]:
    """Return the names of the columns, in order."""
    bins = range(problem.bins)
    return [
        *(f"n_{t}_{m}" for t in bins for m in range(len(problem.modes))),
        *(f"u_{t}_{s}" for t in bins for s in range(len(problem.start_j))),
        *(f"v_{t}_{g}" for t in bins for g in range(len(problem.gpu_count))),
    ]


def families(problem: Problem) -> list[tuple[str, int]]:
    """Return each family of equations with its number of rows, in the order of the whole program."""
    blocks = [(name, block.matrix(problem).shape[0]) for name, block in BLOCKS.items()]
    links = [(name, link.matrix(problem).shape[0]) for name, link in LINKS.items()]
    return [(name, problem.bins * rows) for name, rows in (*blocks, *links)]


def programs() -> dict[str, tuple[Program, list[str]]]:
    """Return the program of each family, and of all of them as "whole", with the names of its rows."""
    problem = example()
    whole = relaxation.program(problem)
    found, names, at = {}, [], 0
    for name, rows in families(problem):
        part = slice(at, at + rows)
        mine = [f"{name}_{i}" for i in range(rows)]
        zero = np.zeros_like(whole.c)
        found[name] = (
            Program(zero, whole.a[part], whole.lower[part], whole.upper[part], whole.most, whole.whole), mine
        )  # fmt: skip
        names += mine
        at += rows
    found["whole"] = (whole, names)
    return found


def write(folder: Path) -> None:
    """Write every golden file into `folder`."""
    names = columns(example())
    for name, (program, rows) in programs().items():
        highs.write(program, str(folder / f"configure_{name}.lp"), names, rows)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN)
