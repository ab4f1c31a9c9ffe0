"""Check a plan by plain arithmetic, from its files alone and without the solver.

The problem is built anew from the plan's targets and ask. Checked are: whole, non-negative counts; every request once;
every pair admitted; every row kept; objective and totals as stated; the bound: the dual at the stated prices, which by
weak duality no plan can beat; and the gap between the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wattlane.plan.assign.baselines import broken
from wattlane.plan.assign.kinds import Kinds
from wattlane.plan.assign.lagrangian import evaluate
from wattlane.plan.assign.plan import Read, read_plan
from wattlane.plan.assign.solve import relative_gap
from wattlane.plan.assign.streaming import read_kinds

TOLERANCE = 1e-7  # relative: what another order of summation may change


@dataclass(frozen=True, slots=True)
class Check:
    """One thing checked: whether it holds, and the numbers."""

    name: str
    holds: bool
    words: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """All checks of a plan; `gap` is the one proved by arithmetic."""

    checks: tuple[Check, ...]
    bound: float
    gap: float

    @property
    def holds(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        checks = [{"name": c.name, "holds": c.holds, "words": c.words} for c in self.checks]
        return {"holds": self.holds, "bound": self.bound, "gap": self.gap, "checks": checks}

    def lines(self) -> list[str]:
        """Return one line a check."""
        return [f"{'ok    ' if c.holds else 'FAILED'} {c.name}: {c.words}" for c in self.checks]


def certify(path: Path, workload: Path | None = None) -> Certificate:
    """Check a plan; with the workload's file, also that the plan was made for it.

    Raises:
        FileFormatError: files that cannot be trusted.
    """
    read = read_plan(path)
    prices = read.prices
    objective, value = read.problem.objective(read.x), _dual(read, prices)
    gap = relative_gap(objective, value)
    checks = [_whole(read), _once(read), _rows(read), _objective(read, objective), _totals(read)]
    checks += [_prices(read, prices), _bound(read, value), _gap(read, objective, value, gap)]
    if workload is not None:
        checks.append(_workload(read, workload))
    return Certificate(tuple(checks), value, gap)


def _dual(read: Read, prices: np.ndarray) -> float:
    return evaluate(read.problem, prices).value


def _whole(read: Read) -> Check:
    least = int(read.x.min())
    return Check("whole counts", least >= 0, f"{int(read.x.sum()):,} requests in whole counts, least {least}")


def _once(read: Read) -> Check:
    stated = sum(read.body["counts"].values())
    counts = dict(zip(read.problem.targets, read.x.sum(axis=1).tolist(), strict=True))
    return Check("every request once", counts == read.body["counts"], f"{stated:,} stated, by target {counts}")


def _rows(read: Read) -> Check:
    failed = broken(read.problem, read.x)
    stated = [row["bound"] for row in read.body["rows"]]
    moved = [r.name for r, b in zip(read.problem.rows, stated, strict=True) if not _close(r.bound, b)]
    problems = [*failed, *(f"{name} has another bound than its ask gives" for name in moved)]
    words = f"{len(read.problem.rows)} rows kept" if not problems else "not kept: " + ", ".join(problems)
    return Check("every limit kept", not problems, words)


def _objective(read: Read, objective: float) -> Check:
    stated = read.body["objective"]
    return Check("objective", _close(objective, stated), f"{objective:.10g} from the table, {stated:.10g} stated")


def _totals(read: Read) -> Check:
    found, stated = read.totals.as_dict(), read.body["totals"]
    off = [
        name
        for name, value in found.items()
        if (value is None) != (stated.get(name) is None) or (value is not None and not _close(value, stated[name]))
    ]
    return Check(
        "totals", not off, f"energy {found['energy_j']:.10g} J" + (f"; not as stated: {', '.join(off)}" if off else "")
    )


def _prices(read: Read, prices: np.ndarray) -> Check:
    signs = np.array([row.sign for row in read.problem.rows])
    wrong = [row.name for row, price, sign in zip(read.problem.rows, prices, signs, strict=True) if price * sign < 0]
    words = "≥ 0 for limits from above, ≤ 0 from below" if not wrong else f"of the wrong sign: {', '.join(wrong)}"
    return Check("prices", not wrong, words)


def _bound(read: Read, value: float) -> Check:
    stated = read.body["bound"]
    return Check("bound", _close(value, stated), f"{value:.10g} from the prices, {stated:.10g} stated")


def _gap(read: Read, objective: float, value: float, gap: float) -> Check:
    honest = value <= objective + TOLERANCE * max(1.0, abs(objective))
    words = f"{gap:.3g} of the objective, proved by arithmetic"
    solver = read.body.get("solver_bound")
    if solver is not None:
        words += (
            f"; {relative_gap(objective, max(solver, value)):.3g} by branch and bound, which needs the solver to check"
        )
    return Check("gap", honest, words)


def _workload(read: Read, path: Path) -> Check:
    kept = read_kinds(path)
    stated = read.body["provenance"]["inputs"].get("workload")
    same = _counted(kept.kinds) == _counted(read.case.kinds)
    words = f"{path.name} and the table hold {'the same' if same else 'other'} requests; sha256 {kept.sha256[:12]}…"
    if kept.sha256 != stated:
        words += f", not {str(stated)[:12]}… as planned for"
    return Check("workload", same and kept.sha256 == stated, words)


def _counted(kinds: Kinds) -> list[tuple[float, ...]]:
    """Return every kind with its count, in an order of their own."""
    limits = [v for v in (kinds.min_accuracy, kinds.deadline_s) if v is not None]
    return sorted(zip(kinds.input_tokens, kinds.output_tokens, *limits, kinds.requests, strict=True))


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= TOLERANCE * max(1.0, abs(a), abs(b))
