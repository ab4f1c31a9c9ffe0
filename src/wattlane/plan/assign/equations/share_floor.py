"""At least a share of all requests on a target; the floor rounds down and is at least 1."""

from __future__ import annotations

from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.equations.equation import Constraint
from wattlane.plan.assign.problem import Row
from wattlane.plan.assign.shares import rounded
from wattlane.plan.assign.values import Case


def rows(case: Case, ask: Ask) -> tuple[Row, ...]:
    """Return one row a target."""
    if ask.shares is None or ask.share_kind != "floor":
        return ()
    counts = rounded(ask.shares, case.kinds.total, "floor", ask.share_factor)
    return tuple(
        Row(f"share_floor[{target.name}]", "share_floor", {k: 1.0}, ">=", float(count), "requests")
        for k, (target, count) in enumerate(zip(case.targets, counts, strict=True))
    )


EQUATION = Constraint("share_floor", "Σ_i x_ki ≥ max(1, ⌊c·γ_k·|Q|⌋) for each k", rows)
