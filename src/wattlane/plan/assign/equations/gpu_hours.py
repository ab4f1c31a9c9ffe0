"""GPU-hours of a target: given by target, or as shares of a total."""

from __future__ import annotations

from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.equations.equation import Constraint
from wattlane.plan.assign.equations.money import S_PER_HOUR
from wattlane.plan.assign.problem import Row
from wattlane.plan.assign.values import Case


def rows(case: Case, ask: Ask) -> tuple[Row, ...]:
    """Return one row a target; two where both shares and hours are given."""
    limits = []
    if ask.gpu_hours is not None:
        limits.append(("gpu_hours", list(ask.gpu_hours)))
    if ask.shares is not None and ask.share_kind == "capacity" and ask.gpu_hours_total is not None:
        limits.append(("gpu_hours_share", [ask.share_factor * g * ask.gpu_hours_total for g in ask.shares]))
    if not limits:
        return ()
    runtime = case.predicted("runtime_s")
    hours = [row * (target.gpus / S_PER_HOUR) for row, target in zip(runtime, case.targets, strict=True)]
    return tuple(
        Row(f"{name}[{target.name}]", "gpu_hours", {k: hours[k]}, "<=", float(limit[k]), "GPU-hours")
        for name, limit in limits
        for k, target in enumerate(case.targets)
    )


EQUATION = Constraint("gpu_hours", "Σ_i g_k·r_ki/3600·x_ki ≤ G_k for each k", rows)
