"""A ratio of energies that names both sides: each "X times" with its boundaries, and whether it is like for like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from wattlane.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Side:
    """One configuration: energy per unit of work by boundary (joules), and its conditions by name."""

    name: str
    energy_j: Mapping[str, float]
    conditions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ratio:
    """`value` times as much on `over` as on `under`; `unlike` names what differs beside what is compared."""

    value: float
    over: str
    under: str
    unlike: tuple[str, ...]

    @property
    def like_for_like(self) -> bool:
        """Whether nothing differs but the configuration itself."""
        return not self.unlike

    def __str__(self) -> str:
        how = "like for like" if self.like_for_like else f"not like for like: {', '.join(self.unlike)} differ"
        return f"{self.value:.1f}x = {self.over} / {self.under} ({how})"


def ratios(over: Side, under: Side) -> list[Ratio]:
    """Return every ratio of the two sides over every pair of boundaries, those of the same boundary first.

    Raises:
        InputError: an energy is not above 0.
    """
    wrong = [
        f"{s.name}: {b} is {v}; expected joules above 0" for s in (over, under) for b, v in s.energy_j.items() if v <= 0
    ]
    if wrong:
        raise InputError.gathered("ratio", wrong)
    names = sorted({*over.conditions, *under.conditions})
    unlike = tuple(n for n in names if over.conditions.get(n) != under.conditions.get(n))
    found = [
        Ratio(
            a / b,
            f"{over.name} [{boundary}]",
            f"{under.name} [{other}]",
            (*(("boundary",) if boundary != other else ()), *unlike),
        )
        for boundary, a in over.energy_j.items()
        for other, b in under.energy_j.items()
    ]
    return sorted(found, key=lambda ratio: len(ratio.unlike))


def told(found: Iterable[Ratio]) -> str:
    """Return the ratios as lines; says so when none of them is like for like."""
    listed = list(found)
    lines = [str(ratio) for ratio in listed]
    if not any(ratio.like_for_like for ratio in listed):
        lines.append("no like-for-like ratio can be formed from these figures")
    return "\n".join(lines)
