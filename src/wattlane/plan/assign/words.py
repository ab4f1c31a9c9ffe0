"""Numbers of a plan as a person reads them: limits that bind, with their prices in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.equations import OBJECTIVES
from wattlane.plan.assign.hats import hat
from wattlane.plan.assign.values import Case

# One step of each equation's bound, in its own unit and in words.
STEPS = {
    "share_ceiling": (1.0, "one request more on {target}"),
    "share_floor": (1.0, "one request fewer on {target}"),
    "gpu_hours": (1.0, "one more GPU-hour of {target}"),
    "finish": (3600.0, "one more hour of work on {target}"),
    "energy_cap": (3.6e6, "one more kWh in the budget"),
    "quality_floor": (0.01, "a mean accuracy lower by 0.01"),
}
SMALL = 1e-12  # of the largest price: not a price


def energy_span_j(case: Case, ask: Ask) -> float | None:
    """Return the joules that weigh as much as 1 of the objective; None where energy does not count."""
    if ask.objective not in ("energy-accuracy", "energy-runtime") or ask.zeta == 0.0:
        return None
    return hat(case.predicted("energy_j"), ask.normalisation).span / ask.zeta


def prices(rows: Sequence[Mapping[str, Any]], case: Case, ask: Ask) -> Iterator[str]:
    """Yield for each row with a price what one step of its bound is worth."""
    unit = OBJECTIVES[ask.objective].unit
    span_j = energy_span_j(case, ask)
    largest = max((abs(row["price"]) for row in rows), default=0.0)
    for row in rows:
        price = abs(row["price"])
        if price <= SMALL * largest or price == 0.0:
            continue
        step, words = STEPS[row["equation"]]
        target = row["name"].partition("[")[2].rstrip("]")
        worth = price * step
        said = f"would save about {worth:.4g} {unit}"
        if unit == "objective":
            said = f"would lower the objective by about {worth:.4g}"
        if span_j is not None:
            said += f", as much as saving {_joules(worth * span_j)} at the same {_other(ask)}"
        yield f"{row['name']}: {words.format(target=target)} {said}"


def _other(ask: Ask) -> str:
    return "accuracy" if ask.objective == "energy-accuracy" else "runtime"


def _joules(value: float) -> str:
    return f"{value / 3.6e6:.4g} kWh" if value >= 3.6e6 else f"{value:.4g} J"
