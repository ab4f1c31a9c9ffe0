"""What is asked of an assignment: the objective and the limits, checked together before anything is solved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from wattlane.core.errors import InputError
from wattlane.plan.assign.hats import NORMALISATIONS
from wattlane.plan.assign.values import NEGATIVE

SHARE_KINDS = ("ceiling", "floor", "capacity")
OBJECTIVES = ("energy-accuracy", "energy-runtime", "joules", "money", "carbon")


@dataclass(frozen=True, slots=True)
class Ask:
    """Objective and limits; None: no such limit. Sequences are by target.

    `shares` are of the requests as ceilings or floors, or of `gpu_hours_total` as capacities; `share_factor`
    multiplies them (the released code of Wilkins 2024 has floors of 0.25 of the shares). `gpu_hours` are capacities
    by target. `finish_s` is when each target's instances must have done their work, `energy_cap_j` a budget of the
    whole plan, `quality_floor` the least token-weighted mean score, `min_accuracy` and `deadline_s` limits of every
    request.
    """

    objective: str = "energy-accuracy"
    zeta: float = 0.5
    normalisation: str = "min-max"
    shares: Sequence[float] | None = None
    share_kind: str = "ceiling"
    share_factor: float = 1.0
    gpu_hours_total: float | None = None
    gpu_hours: Sequence[float] | None = None
    finish_s: float | None = None
    energy_cap_j: float | None = None
    quality_floor: float | None = None
    min_accuracy: float | None = None
    deadline_s: float | None = None
    negative: str = "flag"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        body = asdict(self)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in body.items()}

    def problems(self, targets: int) -> list[str]:
        """Return in words everything that is wrong with this for so many targets."""
        found = [
            f"{name} is {value!r}; expected one of {', '.join(allowed)}"
            for name, value, allowed in (
                ("objective", self.objective, OBJECTIVES),
                ("normalisation", self.normalisation, NORMALISATIONS),
                ("share_kind", self.share_kind, SHARE_KINDS),
                ("negative", self.negative, NEGATIVE),
            )
            if value not in allowed
        ]
        for name in ("zeta", "quality_floor", "min_accuracy"):
            found += _number(name, getattr(self, name), 0.0, 1.0, inclusive=True)
        for name in ("share_factor", "gpu_hours_total", "finish_s", "energy_cap_j", "deadline_s"):
            found += _number(name, getattr(self, name), 0.0, math.inf, inclusive=False)
        for name, most in (("shares", 1.0), ("gpu_hours", math.inf)):
            values = getattr(self, name)
            if values is None:
                continue
            if len(values) != targets:
                found.append(f"{name} has {len(values)} values; expected {targets}, one for each target")
            for i, value in enumerate(values):
                found += _number(f"{name}[{i}]", value, 0.0, most, inclusive=False)
        return found + self._contradictions()

    def _contradictions(self) -> list[str]:
        found = []
        if self.shares is not None and self.share_kind == "floor":
            total = self.share_factor * sum(self.shares)
            if total > 1.0 + 1e-9:
                found.append(f"shares as floors sum to {total:g}; expected at most 1: more requests than there are")
        if self.shares is not None and self.share_kind == "capacity" and self.gpu_hours_total is None:
            found.append(
                "shares are capacities and gpu_hours_total is not given; expected the GPU-hours that are shared"
            )
        if self.gpu_hours_total is not None and (self.shares is None or self.share_kind != "capacity"):
            found.append("gpu_hours_total is given without shares as capacities; expected both or neither")
        return found

    def check(self, targets: int) -> None:
        """Raise `InputError` with every problem, if there is one."""
        if problems := self.problems(targets):
            raise InputError.gathered("assignment", problems)


def needs_accuracy(objective: str, quality_floor: float | None, min_accuracy: float | None) -> bool:
    """Return whether the targets' scores are asked for."""
    return objective == "energy-accuracy" or quality_floor is not None or min_accuracy is not None


def _number(name: str, value: float | None, least: float, most: float, *, inclusive: bool) -> list[str]:
    if value is None:
        return []
    inside = math.isfinite(value) and (least <= value <= most if inclusive else least < value <= most)
    if inside:
        return []
    span = (
        f"from {least:g} to {most:g}"
        if inclusive
        else f"above {least:g}" + (f", at most {most:g}" if most < math.inf else "")
    )
    return [f"{name} is {value:g}; expected a number {span}"]
