"""Money: electricity by the kWh, and rented GPUs by the hour."""

from __future__ import annotations

from wattlane.core.errors import InputError
from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.equations.equation import Objective
from wattlane.plan.assign.problem import Floats
from wattlane.plan.assign.values import Case

J_PER_KWH = 3.6e6
S_PER_HOUR = 3600.0


def cost(case: Case, _ask: Ask) -> Floats:
    """Return dollars of a request, shape (K, m).

    Raises:
        InputError: a target has neither price.
    """
    unpriced = [t.name for t in case.targets if t.usd_per_kwh is None and t.usd_per_gpu_hour is None]
    if unpriced:
        raise InputError(f"no price of {', '.join(unpriced)}; expected usd_per_kwh or usd_per_gpu_hour of each target")
    out = case.predicted("energy_j")
    rent = case.predicted("runtime_s")
    for k, target in enumerate(case.targets):
        out[k] *= (target.usd_per_kwh or 0.0) / J_PER_KWH
        out[k] += rent[k] * (target.gpus * (target.usd_per_gpu_hour or 0.0) / S_PER_HOUR)
    return out


EQUATION = Objective("money", "min Σ_i Σ_k (p_k·e_ki/3.6e6 + h_k·g_k·r_ki/3600)·x_ki", "$", cost)
