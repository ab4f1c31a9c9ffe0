"""What every pair of target and kind would cost: joules, seconds and accuracy, by the targets' laws.

    bilinear: e = a0·in + a1·out + a2·in·out     r = b0·in + b1·out + b2·in·out     a = A·(in + out)

(Wilkins, Keshav, Mortier 2024, arXiv 2407.04014.) Any law of whole requests will do. A bilinear one can give negative
values; such pairs are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wattlane.core.errors import InputError, OutOfRangeError
from wattlane.model.request_law import BILINEAR, TERMS, Side
from wattlane.plan.assign.kinds import Kinds
from wattlane.plan.assign.problem import Floats
from wattlane.plan.assign.targets import Target

NEGATIVE = ("flag", "clamp", "refuse")


@dataclass(frozen=True, eq=False, slots=True)
class Case:
    """Targets and kinds together; `negative` says what is done with negative predicted values."""

    targets: tuple[Target, ...]
    kinds: Kinds
    negative: str = "flag"

    def predicted(self, quantity: str) -> Floats:
        """Return `energy_j` or `runtime_s` of a request, shape (K, m)."""
        out = np.empty((len(self.targets), len(self.kinds)))
        tin, tout = self.kinds.input_tokens.astype(float), self.kinds.output_tokens.astype(float)
        for k, target in enumerate(self.targets):
            side: Side = getattr(target.law, quantity)
            if side.terms == BILINEAR:
                # in·(c0 + c2·out) + c1·out: fewer temporaries than the three terms
                c0, c1, c2 = side.coefficients
                np.multiply(tout, c2, out=out[k])
                out[k] += c0
                out[k] *= tin
                out[k] += c1 * tout
            else:
                out[k] = sum(c * TERMS[term](tin, tout) for c, term in zip(side.coefficients, side.terms, strict=True))
            if side.intercept is not None:
                out[k] += side.intercept
        return np.maximum(out, 0.0, out=out) if self.negative == "clamp" else out

    def accuracy(self) -> Floats:
        """Return A·(in + out), shape (K, m).

        Raises:
            InputError: a target has no accuracy.
        """
        missing = [target.name for target in self.targets if target.accuracy is None]
        if missing:
            raise InputError(f"accuracy of {', '.join(missing)} is not known; expected a score for each target")
        return np.outer(self.scores(), self.kinds.tokens)

    def scores(self) -> Floats:
        """Return the score A of each target, NaN where unknown, (K,)."""
        return np.array([np.nan if target.accuracy is None else target.accuracy for target in self.targets])


def warnings(case: Case, quantities: Sequence[str] = ("energy_j", "runtime_s")) -> tuple[str, ...]:
    """Say which targets get negative values, and which kinds lie outside the range their law was fitted on.

    Raises:
        OutOfRangeError: negative values, where `negative` is refuse.
    """
    found = []
    raw = Case(case.targets, case.kinds)
    for quantity in quantities:
        values = raw.predicted(quantity)
        for target, row in zip(case.targets, values, strict=True):
            below = row < 0
            if below.any():
                worst, count = int(row.argmin()), int(case.kinds.requests[below].sum())
                found.append(
                    f"{target.name}: a negative {quantity} by its law for {count:,} of {case.kinds.total:,} requests, "
                    f"{row[worst]:.4g} at {case.kinds.input_tokens[worst]} input and "
                    f"{case.kinds.output_tokens[worst]} output tokens"
                    + ("; taken as 0" if case.negative == "clamp" else "")
                )
    if found and case.negative == "refuse":
        lines = "\n".join(f"  - {line}" for line in found)
        raise OutOfRangeError(f"{lines}\nexpected at least 0 everywhere; fit laws on such requests, or clamp at 0")
    return (*found, *_outside(case))


def _outside(case: Case) -> list[str]:
    found = []
    for target in case.targets:
        if not target.law.range:
            continue
        beyond = np.zeros(len(case.kinds), bool)
        for name in ("input_tokens", "output_tokens"):
            low, high = target.law.range[name]
            values = getattr(case.kinds, name)
            beyond |= (values < low) | (values > high)
        if beyond.any():
            count = int(case.kinds.requests[beyond].sum())
            found.append(f"{target.name}: {count:,} of {case.kinds.total:,} requests lie outside the range of its law")
    return found
