"""The equations of the assignment problem, one a file; each has a golden LP file among the tests.

Every plan has the equation that each request goes to one target once: Σ_k x_ki = n_i.
"""

from __future__ import annotations

from wattlane.plan.assign.equations import (
    admit_accuracy,
    admit_deadline,
    carbon,
    energy_accuracy,
    energy_cap,
    energy_runtime,
    finish,
    gpu_hours,
    joules,
    money,
    quality_floor,
    share_ceiling,
    share_floor,
)
from wattlane.plan.assign.equations.equation import Admission, Constraint, Objective

OBJECTIVES: dict[str, Objective] = {
    module.EQUATION.name: module.EQUATION for module in (energy_accuracy, energy_runtime, joules, money, carbon)
}
CONSTRAINTS: tuple[Constraint, ...] = tuple(
    module.EQUATION for module in (share_ceiling, share_floor, gpu_hours, finish, energy_cap, quality_floor)
)
ADMISSIONS: tuple[Admission, ...] = (admit_accuracy.EQUATION, admit_deadline.EQUATION)
