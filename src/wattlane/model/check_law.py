"""What every law must do, whatever its form: one battery for all laws.

round trip     written to a file and read again, it gives the same answers to 1e-3
non-negative   no answer is negative
monotone       no answer falls along an axis it is to rise with (tokens, batch), or rises along one it is to fall with
scale          with all axes doubled an answer grows by a factor within the law's limits (requests: 1 to 4)
coverage       intervals at 90 % hold measurements of held-out groups that often, within what so few groups can tell

A law says in its traits (`wattlane.model.law`) what it is asked, and which check does not apply to it and why.
Coverage is counted by group, because rows of one architecture err together: below the level by more than three
standard errors of a mean over that many groups is a failure.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from wattlane.model.law import REQUESTS, HeldOut, Law, Predicts, RequestLaw, Traits

ROUND_TRIP = 1e-3
ROUNDING = 1e-9
LEVEL = 0.9
STANDARD_ERRORS = 3.0

Point = tuple[float, ...]


def check_law(
    law: Law | RequestLaw, read_again: Law | RequestLaw, *grid: Sequence[float], held_out: Sequence[HeldOut] = ()
) -> list[str]:
    """Return in words which laws of nature `law` breaks; empty means none.

    Args:
        law: what is checked.
        read_again: the same law after a round trip through its file.
        grid: for each axis of the law ascending values, at least one.
        held_out: measurements of groups the law was not fitted on; without any, coverage is not checked.

    Raises:
        ValueError: not one sequence for each axis, or measurements held out from a law that states no intervals.
    """
    traits = traits_of(law)
    if len(grid) != len(traits.axes):
        raise ValueError(f"found values for {len(grid)} axes; expected {', '.join(traits.axes)}")
    ask, again = _asked(law), _asked(read_again)
    points = list(itertools.product(*grid))
    answers = {point: ask(*point) for point in points}
    problems = []
    for i, name in enumerate(traits.answers):
        if "round trip" not in traits.exempt:
            problems += _round_trip(name, answers, {point: again(*point)[i] for point in points}, i)
        for point, found in answers.items():
            if not (math.isfinite(found[i]) and found[i] >= 0):
                problems.append(f"non-negative: {name} at {point} is {found[i]:.4g}")
            elif "scale" not in traits.exempt:
                problems += _scale(name, point, found[i], ask(*(2 * x for x in point))[i], traits)
        if "monotone" not in traits.exempt:
            problems += _monotone(name, answers, i, traits)
    if held_out and "coverage" not in traits.exempt:
        problems += _coverage(law, held_out, traits)
    return problems


def traits_of(law: Law | RequestLaw) -> Traits:
    """Return the traits of a law; one of whole requests need not state them."""
    return getattr(law, "traits", REQUESTS)


def _asked(law: Law | RequestLaw) -> Callable[..., Point]:
    found: Callable[..., Point] | None = getattr(law, "answer", None)
    return found if found is not None else law.request_cost  # type: ignore[union-attr]


def _round_trip(name: str, answers: dict[Point, Point], again: dict[Point, float], i: int) -> list[str]:
    return [
        f"round trip: {name} at {point} is {found[i]:.6g}, read again {again[point]:.6g}"
        for point, found in answers.items()
        if not math.isclose(found[i], again[point], rel_tol=ROUND_TRIP)
    ]


def _scale(name: str, point: Point, found: float, doubled: float, traits: Traits) -> list[str]:
    least, most = traits.growth
    if least * found * (1 - ROUNDING) <= doubled <= most * found * (1 + ROUNDING):
        return []
    axes = "tokens" if traits.axes == REQUESTS.axes else " and ".join(traits.axes)
    return [f"scale: {name} at {point} is {found:.4g}, at doubled {axes} {doubled:.4g}; {least:g} to {most:g} times"]


def _monotone(name: str, answers: dict[Point, Point], i: int, traits: Traits) -> list[str]:
    rising = [k for k, axis in enumerate(traits.axes) if axis in traits.rising]
    falling = [k for k, axis in enumerate(traits.axes) if axis in traits.falling]
    free = [k for k, axis in enumerate(traits.axes) if axis not in {*traits.rising, *traits.falling}]
    problems = []
    for a, b in itertools.permutations(answers, 2):
        ordered = all(a[k] <= b[k] for k in rising) and all(a[k] >= b[k] for k in falling)
        if ordered and all(a[k] == b[k] for k in free) and answers[b][i] < answers[a][i] * (1 - ROUNDING):
            problems.append(f"monotone: {name} falls from {answers[a][i]:.4g} at {a} to {answers[b][i]:.4g} at {b}")
    return problems


def _coverage(law: Law | RequestLaw, held_out: Sequence[HeldOut], traits: Traits) -> list[str]:
    if not hasattr(law, "predict"):
        raise ValueError("measurements are held out, but the law has no predict(); exempt it from coverage and say why")
    predicts: Predicts = law  # type: ignore[assignment]
    problems = []
    for name in traits.answers:
        inside: dict[str, list[bool]] = {}
        for held in (h for h in held_out if name in h.measured):
            estimate = predicts.predict(*held.point, level=LEVEL)[name]
            inside.setdefault(held.group, []).append(estimate.lo <= held.measured[name] <= estimate.hi)
        if not inside:
            continue
        share = sum(sum(hits) / len(hits) for hits in inside.values()) / len(inside)
        least = LEVEL - STANDARD_ERRORS * math.sqrt(LEVEL * (1 - LEVEL) / len(inside))
        if share < least:
            problems.append(
                f"coverage: {name} lies in {share:.0%} of the {LEVEL:.0%} intervals over {len(inside)} held-out groups"
                f"; expected at least {least:.0%}"
            )
    return problems
