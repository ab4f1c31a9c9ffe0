"""Write one LP file for each equation of the assignment: `python tools/make_assign_goldens.py`.

tests/golden/assign-NAME.lp   the smallest program that holds the equation: three models, four kinds of request, the
                              published six-digit laws; any solver reads it, and a test solves it with HiGHS
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.build import build
from wattlane.plan.assign.equations import ADMISSIONS, CONSTRAINTS, OBJECTIVES
from wattlane.plan.assign.kinds import Kinds
from wattlane.plan.assign.lp import lp_text
from wattlane.plan.assign.problem import Problem
from wattlane.plan.assign.targets import Target
from wattlane.plan.assign.values import Case

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "golden"
# What has to be asked for each equation to be in the program.
ASKED: dict[str, dict[str, Any]] = {
    "energy-accuracy": {"zeta": 0.5},
    "energy-runtime": {"objective": "energy-runtime", "zeta": 0.5},
    "joules": {"objective": "joules"},
    "money": {"objective": "money"},
    "carbon": {"objective": "carbon"},
    "share_ceiling": {"shares": (0.05, 0.2, 0.75)},
    "share_floor": {"shares": (0.05, 0.2, 0.75), "share_kind": "floor", "share_factor": 0.25},
    "gpu_hours": {"objective": "joules", "gpu_hours": (0.02, 0.05, 1.0)},
    "finish": {"objective": "joules", "finish_s": 150.0},
    "energy_cap": {"energy_cap_j": 2e5},
    "quality_floor": {"objective": "joules", "quality_floor": 0.56},
    "admit_accuracy": {"objective": "joules", "min_accuracy": 0.55},
    "admit_deadline": {"deadline_s": 60.0},
}


def equation_names() -> list[str]:
    """Return the names of all equations."""
    return [*OBJECTIVES, *(rows.name for rows in CONSTRAINTS), *(pairs.name for pairs in ADMISSIONS)]


def golden_problem(name: str) -> Problem:
    """Return the program of one equation."""
    from assign_cases import published_targets  # type: ignore[import-not-found]

    prices = {"usd_per_kwh": 0.2, "usd_per_gpu_hour": 2.0, "gco2e_per_kwh": 300.0, "instances": 2}
    targets: tuple[Target, ...] = published_targets(**prices)
    lengths = np.array([[20, 200, 3], [400, 60, 2], [900, 300, 4], [1500, 20, 1]]).T
    return build(Case(targets, Kinds(*lengths)), Ask(**ASKED[name]))


def main() -> None:
    import sys

    sys.path.insert(0, str(FOLDER.parent))
    for name in equation_names():
        (FOLDER / f"assign-{name}.lp").write_text(lp_text(golden_problem(name)), encoding="utf-8")


if __name__ == "__main__":
    main()
