"""`compare(a, b)`: what differs between two results, with intervals, and what makes them unlike.

Requests of the same id are paired when both sides have them; trials of the same number when both sides were repeated.
"No difference shown" is an answer. Each interval holds for its metric alone; of twenty, one may miss by chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wattlane.core.errors import InputError
from wattlane.core.types import Origin
from wattlane.measure.comparing.differences import Difference, between_requests, between_trials
from wattlane.measure.comparing.sides import Series, Side, read_side

ENERGY_CONDITIONS = ("energy origin", "boundary")
APART = "two campaigns: their trials were not interleaved, so what changed between the two is in the differences"
ONE_RUN = "one run a side: the intervals hold the spread over requests, not that of repeats; repeat both sides to tell"


@dataclass(frozen=True, slots=True)
class Pairing:
    """Two configurations side by side. `unlike` names every condition that differs, `notes` what limits the answer."""

    name: str
    unlike: tuple[str, ...]
    notes: tuple[str, ...]
    differences: tuple[Difference, ...]
    matching: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "name": self.name,
            "unlike": list(self.unlike),
            "notes": list(self.notes),
            "matching": dict(self.matching),
            "differences": [one.as_dict() for one in self.differences],
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """All pairings of two results; `only_a`, `only_b` are the cells that the other side does not have."""

    a: Path
    b: Path
    pairings: tuple[Pairing, ...]
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "a": str(self.a),
            "b": str(self.b),
            "level": 0.95,
            "pairings": [pairing.as_dict() for pairing in self.pairings],
            "only_a": list(self.only_a),
            "only_b": list(self.only_b),
        }


def compare(a: Path | str, b: Path | str) -> Comparison:
    """Return the differences b − a between two results of the forms in `comparing.sides`.

    Raises:
        InputError: a path holds nothing to compare, or the two have no request and no cell in common.
    """
    left, right = read_side(a), read_side(b)
    if left.served is not None and right.served is not None:
        return Comparison(left.path, right.path, (_runs(left, right),))
    if left.series and right.series:
        return _campaigns(left, right)
    raise InputError(f"{a} holds {_form(left)} and {b} {_form(right)}; expected two of a kind")


def _form(side: Side) -> str:
    return f"{len(side.series)} cells" if side.served is None else "the requests of one run"


def _runs(left: Side, right: Side) -> Pairing:
    assert left.served is not None
    assert right.served is not None
    unlike = tuple(_unlike(left.conditions, right.conditions))
    differences, matching = between_requests(
        left.served, right.served, _energy_alike(left.conditions, right.conditions)
    )
    if not matching["matched"]:
        raise InputError(
            f"{left.path} and {right.path}: no request of the same id completed on both sides "
            f"({matching['completed_a']} and {matching['completed_b']} completed); expected the same workload"
        )
    if left.series and right.series:
        known = {difference.metric for difference in differences}
        totals = between_trials(
            left.series[0].trials, right.series[0].trials, _energy_alike(left.conditions, right.conditions)
        )
        differences += [one for one in totals if one.metric in TOTALS and one.metric not in known]
    return Pairing("requests", unlike, tuple(_run_notes(matching, left, right)), tuple(differences), matching)


TOTALS = ("window_s", "power_w", "energy_j_per_request", "energy_j_per_output_token")


def _run_notes(matching: Mapping[str, Any], left: Side, right: Side) -> Iterator[str]:
    yield ONE_RUN
    for side, count in ((left, "a"), (right, "b")):
        lost = matching[f"requests_{count}"] - matching[f"completed_{count}"]
        if lost:
            yield f"{count}: {lost} of {matching[f'requests_{count}']} requests did not complete and are not compared"
        if side.conditions.get("valid") is False:
            yield f"{count}: the measurement is not valid; see its reasons"
    if matching["other_lengths"]:
        yield f"{matching['other_lengths']} of {matching['matched']} requests of the same id have other input lengths"


def _campaigns(left: Side, right: Side) -> Comparison:
    if len(left.series) == 1 and len(right.series) == 1:
        pairs = [(left.series[0], right.series[0])]
        only_a: list[str] = []
        only_b: list[str] = []
    else:
        others = {_key(series): series for series in right.series}
        pairs = [(series, others.pop(_key(series))) for series in left.series if _key(series) in others]
        paired = {_key(one) for one, _ in pairs}
        only_a = [_named(series) for series in left.series if _key(series) not in paired]
        only_b = [_named(series) for series in others.values()]
    if not pairs:
        raise InputError(
            f"{left.path} and {right.path}: no cell has the same factors on both sides; compare two cells by their "
            "folders, RUN/cells/KEY"
        )
    apart = _campaign_of(left) != _campaign_of(right)
    pairings = tuple(_cells(one, other, apart) for one, other in pairs)
    return Comparison(left.path, right.path, pairings, tuple(only_a), tuple(only_b))


def _campaign_of(side: Side) -> Path:
    """Return the folder of the campaign that a side is, or is a cell of."""
    return side.path.resolve().parents[1] if side.form == "cell" else side.path.resolve()


def _cells(one: Series, other: Series, apart: bool) -> Pairing:
    alike = _energy_alike(one.conditions, other.conditions)
    pairs = len(one.trials.keys() & other.trials.keys())
    notes = [] if pairs > 1 else [f"{pairs} trials of the same number are valid on both sides; expected two or more"]
    if apart:
        notes.append(APART)
    name = _named(one) if one.name == other.name or one.factors else f"{one.name} and {other.name}"
    return Pairing(
        name,
        tuple(_unlike(one.conditions, other.conditions)),
        tuple(notes),
        tuple(between_trials(one.trials, other.trials, alike)),
        {"trials_a": len(one.trials), "trials_b": len(other.trials), "matched": pairs},
    )


def _key(series: Series) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(series.factors.items())) or (("cell", series.name),)


def _named(series: Series) -> str:
    return ", ".join(f"{name}={value}" for name, value in series.factors.items()) or series.name


def _unlike(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[str]:
    """Yield every condition that differs, and in one line for each side those that it does not state."""
    stated = {name for name in (*a, *b) if name != "valid"}
    for name in [name for name in dict.fromkeys((*a, *b)) if name in stated]:
        if a.get(name) is not None and b.get(name) is not None and a[name] != b[name]:
            yield f"{name}: {a[name]} against {b[name]}"
    for side, own, other in (("a", a, b), ("b", b, a)):
        silent = sorted(name for name in stated if own.get(name) is None and other.get(name) is not None)
        if silent:
            yield f"not stated by {side}: {', '.join(silent)}"


def _energy_alike(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return (
        all(a.get(name) == b.get(name) for name in ENERGY_CONDITIONS) and a.get("energy origin") != Origin.ABSENT.value
    )
