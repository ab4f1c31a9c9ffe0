"""Check a configuration plan by arithmetic alone, from its files: feasible, whole, cost, bound. No solver is called.

The bound checked is the one prices prove (`bound`): a solver's own bound, where it is better, is reported but rests on
the solver.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wattlane.core.files import sha256
from wattlane.plan.configure.bound import lower_bound
from wattlane.plan.configure.evaluate import cost, violations
from wattlane.plan.configure.files import read

CLOSE = 1e-9


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was found: broken constraints in words, cost stated and recomputed, the bound that prices prove."""

    broken: tuple[str, ...]
    objective: float
    objective_stated: float
    certified_bound: float
    certified_bound_stated: float
    bound_stated: float
    parked: float
    made_from: str | None

    @property
    def certified_gap(self) -> float:
        """Gap that needs no solver, as a share of the objective above the parked fleet."""
        above = self.objective - self.parked
        return max(0.0, (self.objective - self.certified_bound) / above) if above > 0 else 0.0

    @property
    def holds(self) -> bool:
        """Whether every check holds."""
        return not list(self.faults())

    def faults(self) -> Iterator[str]:
        """Yield what does not hold, in words."""
        yield from self.broken
        scale = max(abs(self.objective), 1e-300)
        if abs(self.objective - self.objective_stated) > CLOSE * scale:
            yield f"the objective is {self.objective:.9g}; the plan states {self.objective_stated:.9g}"
        if abs(self.certified_bound - self.certified_bound_stated) > CLOSE * scale:
            yield f"the prices prove {self.certified_bound:.9g}; the plan states {self.certified_bound_stated:.9g}"
        if max(self.bound_stated, self.certified_bound) > self.objective + CLOSE * scale:
            yield f"a bound of {max(self.bound_stated, self.certified_bound):.9g} lies above the objective"
        if self.made_from is not None:
            yield self.made_from

    def lines(self) -> list[str]:
        """Return the certificate in words."""
        found = list(self.faults())
        head = "holds: feasible, whole, cost and bound as stated" if not found else "does not hold:"
        gap = f"objective {self.objective:.9g}, proven without a solver to be within {self.certified_gap:.2%}"
        return [head, *(f"  - {words}" for words in found), gap]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"holds": self.holds, "faults": list(self.faults()), "certified_gap": self.certified_gap, **asdict(self)}


def certify(path: Path, workload: Path | None = None) -> Certificate:
    """Return the certificate of the plan at `path`; with `workload`, also whether it was made from that file."""
    kept = read(path)
    made_from = None
    if workload is not None:
        stated = kept.body.get("provenance", {}).get("inputs", {}).get("workload")
        if stated != sha256(workload):
            made_from = f"the plan was not made from {workload}: its workload has another hash"
    found = cost(kept.problem, kept.counts)
    return Certificate(
        broken=tuple(violations(kept.problem, kept.counts)),
        objective=found.total,
        objective_stated=float(kept.body["objective"]),
        certified_bound=lower_bound(kept.problem, kept.prices),
        certified_bound_stated=float(kept.body["certified_bound"]),
        bound_stated=float(kept.body["bound"]),
        parked=found.parked,
        made_from=made_from,
    )
