"""Tuning a controller: the limits of least energy per SLO-meeting token that keep the SLO, on a seed not scored.

Every controller is tuned alike, at every load: from each token budget, which decides what a clock may be, one knob
after the other over all its values until nothing improves. The attainment must stay a margin above the target, since
other seeds are scored. Where nothing keeps it, the limits of the best attainment are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from wattlane.study.suite.cells import Worth
from wattlane.study.suite.site import Knobs

MARGIN = 0.002
ROUNDS = 2


class Tuned(NamedTuple):
    """The knobs chosen, what they are worth on the tuning seed, and how many settings were replayed."""

    knobs: dict[str, float]
    worth: Worth
    tried: int


def allowed(at: Knobs) -> bool:
    """Whether an engine takes these limits: a token for every sequence."""
    return at["max_num_batched_tokens"] >= at["max_num_seqs"]


def tune(
    start: Knobs,
    values: Mapping[str, tuple[float, ...]],
    worth: Callable[[Knobs], Worth],
    target: float,
    margin: float = MARGIN,
) -> Tuned:
    """Return the best setting found from `start` and each value of the first knob; ties go to the one found first."""
    seen: dict[tuple[float, ...], Worth] = {}

    def rank(at: Knobs) -> tuple[float, float]:
        key = tuple(at.values())
        if key not in seen:
            seen[key] = worth(at)
        found = seen[key]
        kept = found.attainment >= min(target + margin, 1.0)
        return (0.0, found.j_per_good_token) if kept else (1.0, -found.attainment)

    first, *others = values
    found = [
        _descend({**start, first: value}, {name: values[name] for name in others}, rank) for value in values[first]
    ]
    best = min(filter(allowed, found), key=rank)
    return Tuned(best, seen[tuple(best.values())], len(seen))


def _descend(
    start: dict[str, float], values: Mapping[str, tuple[float, ...]], rank: Callable[[Knobs], tuple[float, float]]
) -> dict[str, float]:
    """Return what is found from `start` by one knob after the other; a start no engine takes is left at once."""
    best = start if allowed(start) else {**start, "max_num_seqs": min(values.get("max_num_seqs", (0.0,)))}
    if not allowed(best):
        return best
    for _ in range(ROUNDS):
        before = best
        for name, options in values.items():
            for value in options:
                other = {**best, name: value}
                if allowed(other) and rank(other) < rank(best):
                    best = other
        if best == before:
            break
    return best
