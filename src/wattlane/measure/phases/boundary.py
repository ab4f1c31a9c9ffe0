"""Phases by a boundary inside the run: prefill, synchronise, decode, synchronise.

    start ─ prefill ─ synchronise ─┬─ decode ─ synchronise ─ end
                                boundary
An accelerator works behind the program: without waiting for it the boundary would stamp when work was handed over, not
when it was done. Both phases share the boundary, so they sum to the whole as exactly as the meter reads its edges.
`prefill` produces the first token, so decode covers output − 1 tokens here as well.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from wattlane.core.errors import InputError, MeasurementError
from wattlane.core.types import Origin
from wattlane.measure.account import metered
from wattlane.measure.energy.budget import Z
from wattlane.measure.phases.part import Repeats, Split
from wattlane.measure.readings import Reading
from wattlane.measure.tokens import TokenCount

METHOD = "boundary inside the run"
State = TypeVar("State")


class Synchroniser(Protocol):
    """Waits until the device has done all work handed to it; `torch.cuda.synchronize` is one."""

    def __call__(self) -> object:
        """Return when the device is idle."""
        ...


def nothing_pending() -> None:
    """Synchronise a device that works in step with the program, such as a CPU."""


@dataclass(frozen=True, slots=True)
class Edges:
    """Instants of one run on the monotonic clock."""

    start_s: float
    boundary_s: float
    end_s: float


def run_in_phases(
    prefill: Callable[[], State],
    decode: Callable[[State], object],
    synchronise: Synchroniser = nothing_pending,
    clock: Callable[[], float] = time.monotonic,
) -> Edges:
    """Run both phases once and return when they began and ended.

    Args:
        prefill: reads the prompts and makes the first token; what it returns is passed to `decode`.
        decode: makes the other tokens.
        synchronise: called before the first stamp, at the boundary, and at the end.
        clock: seconds; the one the meter's readings are stamped with.
    """
    synchronise()
    start_s = clock()
    state = prefill()
    synchronise()
    boundary_s = clock()
    decode(state)
    synchronise()
    return Edges(start_s, boundary_s, clock())


def by_boundary(readings: Sequence[Reading], runs: Sequence[Edges], counted: TokenCount) -> Split:
    """Return prefill and decode energy of one run, from repeats of it.

    Args:
        readings: of one meter, reaching over all runs.
        runs: edges of each repeat.
        counted: tokens of one run.

    Raises:
        InputError: no runs, or no row has a second token.
        MeasurementError: the meter has no energy for one of the phases.
    """
    if not runs or counted.decode_tokens < 1:
        raise InputError(
            f"found {len(runs)} runs and {counted.decode_tokens} decoded tokens; expected at least 1 of each"
        )
    prefill = repeats_of(readings, [(run.start_s, run.boundary_s) for run in runs])
    decode = repeats_of(readings, [(run.boundary_s, run.end_s) for run in runs])
    whole = repeats_of(readings, [(run.start_s, run.end_s) for run in runs])
    total = whole.part(counted.output_effective_tokens)
    parts = (prefill.part(counted.input_effective_tokens), decode.part(counted.decode_tokens))
    note = (
        f"decode_tokens: decode covers {counted.decode_tokens} of {counted.output_effective_tokens} output tokens; the "
        "first of each row is made in prefill"
    )
    split = Split(*parts, total, METHOD, (note,), origin_of(readings))
    return replace(split, notes=(note, *_residual(split)))


def repeats_of(readings: Sequence[Reading], windows: Sequence[tuple[float, float]]) -> Repeats:
    """Return the metered energies of `windows` as repeats of one run.

    Raises:
        MeasurementError: the meter has no energy for one of them.
    """
    reach = (readings[0].time_s, readings[-1].time_s) if readings else (0.0, 0.0)
    budgets = [
        metered(readings, start_s, end_s).budget if reach[0] <= start_s and end_s <= reach[1] else None
        for start_s, end_s in windows
    ]
    known = [budget for budget in budgets if budget is not None]
    if len(known) < len(windows):
        raise MeasurementError(
            f"the meter has no energy for {len(windows) - len(known)} of {len(windows)} windows, first in run "
            f"{budgets.index(None)}; expected readings around both edges; record from before the first run to after "
            "the last"
        )
    return Repeats(
        [budget.value for budget in known],
        [end_s - start_s for start_s, end_s in windows],
        [budget.own_half / Z for budget in known],
        [math.hypot(*budget.systematic.values()) for budget in known],
    )


def origin_of(readings: Sequence[Reading]) -> Origin:
    """Return modelled where any reading is."""
    return Origin.MODELLED if any(r.origin is Origin.MODELLED for r in readings) else Origin.MEASURED


def _residual(split: Split) -> list[str]:
    rest = split.total.energy_j - split.prefill.energy_j - split.decode.energy_j
    share = abs(rest) / abs(split.total.energy_j) if split.total.energy_j else 0.0
    return [f"residual: the phases miss the whole by {share:.2%}"] if share > 0.005 else []
