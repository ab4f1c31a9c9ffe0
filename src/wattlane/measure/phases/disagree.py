"""Two splits of the same run: do they disagree?

Each phase is tested by Welch's t on the two means; with two phases a disagreement needs p < α / 2. That none is shown
proves little when the errors are wide, so "agree" needs the interval of the difference to lie within `tolerance` of the
in-run figure; otherwise the answer is "not decided".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from wattlane.core.errors import InputError
from wattlane.core.types import Phase
from wattlane.measure.phases.part import LEVEL, Part, Split, welch
from wattlane.measure.phases.tails import t_quantile, t_tail

TOLERANCE = 0.10  # of the in-run energy: what two sound methods may differ by on real engines
PHASES = (Phase.PREFILL, Phase.DECODE)


class Verdict(StrEnum):
    """What the comparison of two methods allows to say."""

    AGREE = "agree"
    NOT_DECIDED = "not decided"
    DISAGREE = "disagree"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One phase by both methods: first − second, its interval and p-value."""

    phase: Phase
    first_j: float
    second_j: float
    difference_j: float
    difference_j_lo: float
    difference_j_hi: float
    p_value: float
    verdict: Verdict

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        names = ("first_j", "second_j", "difference_j", "difference_j_lo", "difference_j_hi", "p_value")
        return {"verdict": self.verdict.value, **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Both splits and how they compare; both are always reported, none is averaged away."""

    first: Split
    second: Split
    phases: tuple[Comparison, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst verdict over the phases."""
        found = {phase.verdict for phase in self.phases}
        return next(v for v in (Verdict.DISAGREE, Verdict.NOT_DECIDED, Verdict.AGREE) if v in found)

    def __str__(self) -> str:
        texts = [
            f"{one.phase.value}: {one.first_j:.4g} J against {one.second_j:.4g} J, {one.verdict.value} "
            f"(p = {one.p_value:.2g})"
            for one in self.phases
        ]
        return f"{self.first.method} against {self.second.method}; {'; '.join(texts)}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return {
            "verdict": self.verdict.value,
            "methods": [self.first.as_dict(), self.second.as_dict()],
            "phases": {one.phase.value: one.as_dict() for one in self.phases},
        }


def compare(first: Split, second: Split, level: float = LEVEL, tolerance: float = TOLERANCE) -> Disagreement:
    """Return how two splits of the same run compare; they must come from independent runs.

    Args:
        first: usually the difference of runs.
        second: usually the boundary inside the run; `tolerance` is a share of its energies.
        level: of intervals; both phases together are tested at 1 − level.
        tolerance: largest relative difference that still counts as agreement.

    Raises:
        InputError: the splits cover different tokens, or one has no error to test with.
    """
    problems = []
    for phase in PHASES:
        one, other = _part(first, phase), _part(second, phase)
        if one.tokens != other.tokens:
            problems.append(f"{phase.value} covers {one.tokens} and {other.tokens} tokens; expected the same run")
        if one.se_j == 0 and other.se_j == 0:
            problems.append(f"{phase.value} has no error in either method; expected repeats or an error of the meter")
    if problems:
        raise InputError.gathered("phase splits", problems)
    each = 1 - (1 - level) / len(PHASES)
    return Disagreement(
        first, second, tuple(_compare(p, _part(first, p), _part(second, p), each, tolerance) for p in PHASES)
    )


def _part(split: Split, phase: Phase) -> Part:
    return split.prefill if phase is Phase.PREFILL else split.decode


def _compare(phase: Phase, one: Part, other: Part, level: float, tolerance: float) -> Comparison:
    se_j, dof = welch(one, other)
    difference_j = one.energy_j - other.energy_j
    half_j = t_quantile(dof, level) * se_j
    p_value = t_tail(difference_j / se_j, dof)
    limit_j = tolerance * abs(other.energy_j)
    if p_value < 1 - level:
        verdict = Verdict.DISAGREE
    elif abs(difference_j) + half_j <= limit_j:
        verdict = Verdict.AGREE
    else:
        verdict = Verdict.NOT_DECIDED
    return Comparison(
        phase,
        one.energy_j,
        other.energy_j,
        difference_j,
        difference_j - half_j,
        difference_j + half_j,
        p_value,
        verdict,
    )
