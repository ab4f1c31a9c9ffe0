"""At most a share of all requests on a target; the ceiling rounds up and is at least 1."""

from __future__ import annotations

from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.equations.equation import Constraint
from wattlane.plan.assign.problem import Row
from wattlane.plan.assign.shares import rounded
from wattlane.plan.assign.values import Case


def rows(case: Case, ask: Ask) -> tuple[Row, ...]:
    """Return one row a target."""
    if ask.shares is None or ask.share_kind != "ceiling":
        return ()
    counts = rounded(ask.shares, case.kinds.total, "ceiling", ask.share_factor)
    return tuple(
        Row(f"share_ceiling[{target.name}]", "share_ceiling", {k: 1.0}, "<=", float(count), "requests")
        for k, (target, count) in enumerate(zip(case.targets, counts, strict=True))
    )


EQUATION = Constraint("share_ceiling", "Σ_i x_ki ≤ max(1, ⌈c·γ_k·|Q|⌉) for each k", rows)
