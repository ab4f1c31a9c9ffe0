"""Plan an assignment from files: read, check all inputs together, merge, solve, compare with the baselines."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wattlane.core.errors import InfeasibleError, InputError, WattlaneError
from wattlane.core.files import sha256
from wattlane.core.provenance import Provenance
from wattlane.core.workload import Workload
from wattlane.plan.assign import relaxation
from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.baselines import baselines
from wattlane.plan.assign.build import build
from wattlane.plan.assign.frontier import TENTHS, Point, frontier
from wattlane.plan.assign.kinds import Kinds, merge
from wattlane.plan.assign.plan import Plan
from wattlane.plan.assign.problem import Floats
from wattlane.plan.assign.solve import solve
from wattlane.plan.assign.streaming import Kept, read_kinds
from wattlane.plan.assign.targets import Target, TargetSpec, law_paths, read_targets
from wattlane.plan.assign.totals import totals
from wattlane.plan.assign.values import Case, warnings


def assign(
    workload: Workload | Kinds,
    targets: Sequence[Target],
    ask: Ask | None = None,
    *,
    start: Floats | None = None,
    seed: int = 0,
    limit_s: float = 60.0,
) -> Plan:
    """Return the plan of a workload over targets; `start` are the prices of a similar plan, which save steps.

    Raises:
        InputError: the ask is wrong; all problems together.
        InfeasibleError: no plan keeps all limits; says the smallest relaxation in words.
    """
    ask = Ask() if ask is None else ask
    ask.check(len(targets))
    started = time.perf_counter()
    kinds = workload if isinstance(workload, Kinds) else merge(workload)
    case = Case(tuple(targets), kinds, ask.negative)
    problem = build(case, ask)
    try:
        solution = solve(problem, start, limit_s=limit_s)
    except InfeasibleError:
        raise InfeasibleError(relaxation.words(case, ask, problem)) from None
    seconds = time.perf_counter() - started
    return Plan(
        case,
        ask,
        problem,
        solution,
        totals(case, solution.x),
        baselines(case, problem, seed),
        warnings(case),
        seconds,
        provenance=Provenance(seed=seed),
    )


def assign_files(
    workload: Path, spec: TargetSpec, ask: Ask, *, format: str | None = None, seed: int = 0, limit_s: float = 60.0
) -> Plan:
    """Return the plan of a workload file over law files.

    Raises:
        InputError: anything wrong in workload, laws or ask; all problems together.
        InfeasibleError: no plan keeps all limits.
    """
    targets, kept, provenance = _read(workload, spec, ask, format, seed)
    plan = assign(kept.kinds, targets, ask, seed=seed, limit_s=limit_s)
    return replace(plan, provenance=provenance, notes=kept.notes, seconds=kept.merge_s + plan.seconds)


def frontier_files(
    workload: Path, spec: TargetSpec, ask: Ask, zetas: Sequence[float] = TENTHS, *, limit_s: float = 60.0
) -> tuple[tuple[Point, ...], Provenance]:
    """Return one optimum for each weight, and where they come from.

    Raises:
        InputError: anything wrong in workload, laws, ask or weights; all problems together.
        InfeasibleError: no plan keeps all limits.
    """
    targets, kept, provenance = _read(workload, spec, ask, None, None)
    return frontier(Case(targets, kept.kinds, ask.negative), ask, zetas, limit_s=limit_s), provenance


def _read(
    workload: Path, spec: TargetSpec, ask: Ask, format: str | None, seed: int | None
) -> tuple[tuple[Target, ...], Kept, Provenance]:
    """Read all inputs; report everything that is wrong in any of them together."""
    problems: list[str] = []
    targets: tuple[Target, ...] = ()
    try:
        targets = read_targets(spec)
    except InputError as error:
        problems.append(str(error))
    problems += ask.problems(len(spec.fits))
    try:
        kept = read_kinds(workload, format)
    except WattlaneError as error:
        problems.append(str(error))
    if problems:
        raise InputError.gathered("assignment", problems)
    laws = {f"law {target.name}": sha256(path) for target, path in zip(targets, law_paths(spec), strict=True)}
    return targets, kept, Provenance(seed=seed, inputs={"workload": kept.sha256, **laws})
