"""Carbon of the electricity used."""

from __future__ import annotations

import numpy as np

from wattlane.core.errors import InputError
from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.equations.equation import Objective
from wattlane.plan.assign.equations.money import J_PER_KWH
from wattlane.plan.assign.problem import Floats
from wattlane.plan.assign.values import Case


def cost(case: Case, _ask: Ask) -> Floats:
    """Return grams of CO2e of a request, shape (K, m).

    Raises:
        InputError: a target has no carbon intensity.
    """
    unknown = [target.name for target in case.targets if target.gco2e_per_kwh is None]
    if unknown:
        raise InputError(f"no carbon intensity of {', '.join(unknown)}; expected gco2e_per_kwh of each target")
    intensity = np.array([float(target.gco2e_per_kwh or 0.0) for target in case.targets]) / J_PER_KWH
    return case.predicted("energy_j") * intensity[:, None]


EQUATION = Objective("carbon", "min Σ_i Σ_k c_k·e_ki/3.6e6·x_ki", "gCO2e", cost)
