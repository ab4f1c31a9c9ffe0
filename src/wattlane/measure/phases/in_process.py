"""Both phases of one batch on an in-process engine, found two ways: boundary inside the run, and difference of runs.

    round = [prefill │ decode steps]   generate(1)   generate(N)        repeated, so that drift meets all alike

The first gives the boundary, the other two the difference. They need not agree: the library's own loop does more per
token than bare steps. Seconds come always; joules only where a meter was read, else they are absent (None).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from wattlane.core.errors import InputError, MeasurementError
from wattlane.measure.engines.inprocess import InProcess, Prompts, Stretch
from wattlane.measure.phases.boundary import Edges, by_boundary, origin_of, repeats_of
from wattlane.measure.phases.difference import by_difference
from wattlane.measure.phases.disagree import Disagreement, compare
from wattlane.measure.phases.part import Split
from wattlane.measure.readings import Meter, Reading
from wattlane.measure.recorder import Recorder
from wattlane.measure.tokens import TokenCount


@dataclass(frozen=True, slots=True)
class Duration:
    """Mean seconds of a phase and the standard error of that mean."""

    mean_s: float
    standard_error_s: float

    def __sub__(self, other: Duration) -> Duration:
        return Duration(self.mean_s - other.mean_s, math.hypot(self.standard_error_s, other.standard_error_s))


@dataclass(frozen=True, slots=True)
class TwoWays:
    """Seconds of (prefill, decode) by both methods, and the energy splits where a meter was read."""

    tokens: TokenCount
    boundary_s: tuple[Duration, Duration]
    difference_s: tuple[Duration, Duration]
    boundary: Split | None = None
    difference: Split | None = None
    disagreement: Disagreement | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values: mean and standard error of each duration, and the splits or null."""
        return {
            "duration_s": {
                "boundary": _durations(self.boundary_s),
                "difference": _durations(self.difference_s),
            },
            "boundary": None if self.boundary is None else self.boundary.as_dict(),
            "difference": None if self.difference is None else self.difference.as_dict(),
        }


def two_ways(
    engine: InProcess, prompts: Prompts, output_tokens: int, repeats: int = 5, meter: Meter | None = None
) -> TwoWays:
    """Return prefill and decode of a batch of `prompts` with `output_tokens` tokens each, by both methods.

    One round goes before the clock. With a meter its readings reach over all rounds.

    Raises:
        InputError: fewer than 2 output tokens, or fewer than 2 repeats: there is nothing to divide or no spread.
        MeasurementError: the engine fails, or the meter has no energy for one of the runs.
    """
    problems = []
    if output_tokens < 2:
        problems.append(f"output_tokens is {output_tokens}; expected at least 2: the first belongs to prefill")
    if repeats < 2:
        problems.append(f"repeats is {repeats}; expected at least 2: one run has no spread")
    if problems:
        raise InputError.gathered("phases", problems)
    edges, firsts, wholes, recorder = [], [], [], Recorder(meter, engine.pid)
    counted = _round(engine, prompts, output_tokens)[3]
    with recorder:
        for _ in range(repeats):
            run, first, whole, counted = _round(engine, prompts, output_tokens)
            edges.append(run)
            firsts.append(first)
            wholes.append(whole)
    first_s, whole_s = (_mean([stretch.duration_s for stretch in stretches]) for stretches in (firsts, wholes))
    found = TwoWays(
        counted,
        (_mean([run.boundary_s - run.start_s for run in edges]), _mean([run.end_s - run.boundary_s for run in edges])),
        (first_s, whole_s - first_s),
    )
    return found if meter is None else _with_energy(found, recorder.readings, edges, firsts, wholes)


def _round(engine: InProcess, prompts: Prompts, output_tokens: int) -> tuple[Edges, Stretch, Stretch, TokenCount]:
    read = engine.prefill(prompts)
    steps = engine.decode(output_tokens - 1)
    first = engine.generate(prompts, 1)
    whole = engine.generate(prompts, output_tokens)
    return Edges(read.start_s, read.end_s, steps[-1].end_s), first.stretch, whole.stretch, whole.tokens


def _mean(durations_s: list[float]) -> Duration:
    return Duration(fmean(durations_s), stdev(durations_s) / math.sqrt(len(durations_s)))


def _with_energy(
    found: TwoWays, readings: list[Reading], edges: list[Edges], firsts: list[Stretch], wholes: list[Stretch]
) -> TwoWays:
    inside = by_boundary(readings, edges, found.tokens)
    try:
        whole, first = (repeats_of(readings, [(s.start_s, s.end_s) for s in runs]) for runs in (wholes, firsts))
    except MeasurementError:
        return TwoWays(found.tokens, found.boundary_s, found.difference_s, inside)
    apart = by_difference(whole, first, found.tokens, origin_of(readings))
    return TwoWays(found.tokens, found.boundary_s, found.difference_s, inside, apart, compare(inside, apart))


def _durations(durations: tuple[Duration, Duration]) -> dict[str, dict[str, float]]:
    return {name: asdict(duration) for name, duration in zip(("prefill", "decode"), durations, strict=True)}
