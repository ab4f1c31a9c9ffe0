"""A solved assignment as one value and as files: `plan.json` and, beside it, `assignment.parquet`.

The two files hold everything that `certify` needs: targets with their laws, the ask, the rows with their prices, and
how many requests of each kind go to each target.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wattlane.core.errors import FileFormatError, InputError
from wattlane.core.files import read_json, read_parquet, write_json, write_parquet
from wattlane.core.provenance import Provenance
from wattlane.plan.assign import words
from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.baselines import Baseline
from wattlane.plan.assign.build import build
from wattlane.plan.assign.kinds import Kinds
from wattlane.plan.assign.problem import Counts, Floats, Problem
from wattlane.plan.assign.shares import rounding
from wattlane.plan.assign.solve import Solution, relative_gap
from wattlane.plan.assign.targets import Target
from wattlane.plan.assign.totals import Totals, totals
from wattlane.plan.assign.values import Case

KIND = "assignment"
TABLE_KIND = "assignment-table"
TABLE = "assignment.parquet"
REQUESTS = "requests.parquet"
REQUESTS_KIND = "assignment-requests"
COLUMNS = ("input_tokens", "output_tokens", "target", "requests")


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """An assignment with its certificate and the published baselines; `seconds` are those of merging and solving."""

    case: Case
    ask: Ask
    problem: Problem
    solution: Solution
    totals: Totals
    baselines: tuple[Baseline, ...]
    warnings: tuple[str, ...]
    seconds: float
    notes: tuple[str, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def counts(self) -> dict[str, int]:
        """Requests by target."""
        found = self.solution.x.sum(axis=1)
        return {target.name: int(count) for target, count in zip(self.case.targets, found, strict=True)}

    def as_dict(self) -> dict[str, Any]:
        """Return plain values: the answer first, then what it rests on."""
        solution = self.solution
        return {
            "objective": solution.objective,
            "bound": solution.bound,
            "gap": solution.gap,
            "energy_j": self.totals.energy_j,
            "accuracy": self.totals.accuracy,
            "counts": self.counts,
            "seconds": self.seconds,
            "status": solution.status,
            "solver_bound": solution.solver_bound,
            "totals": self.totals.as_dict(),
            "kinds": len(self.case.kinds),
            "rows": rows_as_dicts(self.problem, solution.prices, solution.x),
            "rounding": rounding(self.ask, self.case.kinds.total),
            "baselines": [
                {**baseline.as_dict(), "gap": _baseline_gap(baseline, solution)} for baseline in self.baselines
            ],
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """Return the plan for a person: the answer, the baselines beside it, the prices of what binds."""
        solution, rows = self.solution, rows_as_dicts(self.problem, self.solution.prices, self.solution.x)
        out = [
            f"{solution.status}: objective {solution.objective:.8g}, bound {solution.bound:.8g}, "
            f"gap {solution.gap:.2g}, {self.seconds:.3g} s",
            f"{'':<24}{'requests':>12}{'energy kWh':>12}{'mean s':>10}{'accuracy':>10}{'gap':>9}",
            _line("this plan", self.totals, solution.gap),
        ]
        out += [_line(b.name, b.totals, _baseline_gap(b, solution), b.broken) for b in self.baselines]
        out.append("requests by target: " + ", ".join(f"{name} {count:,}" for name, count in self.counts.items()))
        for row in rounding(self.ask, self.case.kinds.total):
            if row["exact"] != row["count"]:
                out.append(
                    f"share {row['share']:g} is {row['exact']:,.2f} requests, {self.ask.share_kind} {row['count']:,}"
                )
        return out + list(words.prices(rows, self.case, self.ask))

    def write(self, path: Path, *, per_request: bool = False) -> tuple[Path, ...]:
        """Write the plan to `path` and its table beside it, and the target of every request if asked; return the paths.

        The time it took is not in the file: the same workload and ask give the same bytes.
        """
        body = self.as_dict()
        body.pop("seconds")
        table, requests = (path.with_name(n if path.stem == "plan" else f"{path.stem}-{n}") for n in (TABLE, REQUESTS))
        if per_request:
            write_parquet(requests, REQUESTS_KIND, requests_table(self.case, self.solution.x))
        write_parquet(table, TABLE_KIND, assignment_table(self.case, self.solution.x))
        write_json(
            path,
            KIND,
            {
                **body,
                "ask": self.ask.as_dict(),
                "targets": [target.as_dict() for target in self.case.targets],
                "table": table.name,
                "provenance": self.provenance.as_dict(),
            },
        )
        return (path, table, requests) if per_request else (path, table)


def _line(name: str, found: Totals, gap: float | None, broken: tuple[str, ...] = ()) -> str:
    accuracy = "-" if found.accuracy is None else f"{found.accuracy:.4f}"
    said = "-" if gap is None else f"{gap:.2g}"
    return (
        f"{name:<24}{found.requests:>12,}{found.energy_j / 3.6e6:>12.4g}{found.mean_runtime_s:>10.4g}{accuracy:>10}"
        f"{said:>9}" + (f"  breaks {', '.join(broken)}" if broken else "")
    )


def _baseline_gap(baseline: Baseline, solution: Solution) -> float | None:
    if baseline.objective is None or baseline.broken:  # it solves another problem
        return None
    return relative_gap(baseline.objective, solution.objective)


def rows_as_dicts(problem: Problem, prices: Floats, x: Counts) -> list[dict[str, Any]]:
    """Return every row with its bound, what the plan uses of it, and its price."""
    return [
        {
            "name": row.name,
            "equation": row.equation,
            "sense": row.sense,
            "bound": row.bound,
            "used": row.load(x),
            "unit": row.unit,
            "price": float(price),
        }
        for row, price in zip(problem.rows, prices, strict=True)
    ]


def assignment_table(case: Case, x: Counts) -> Any:
    """Return one row for each kind and target with requests: lengths, limits, target, requests."""
    import polars as pl

    k, i = np.nonzero(x)
    kinds = case.kinds
    columns: dict[str, Any] = {"input_tokens": kinds.input_tokens[i], "output_tokens": kinds.output_tokens[i]}
    for name in ("min_accuracy", "deadline_s"):
        if (values := getattr(kinds, name)) is not None:
            columns[name] = values[i]
    names = np.array([target.name for target in case.targets])
    return pl.DataFrame({**columns, "target": names[k], "requests": x[k, i]})


def requests_table(case: Case, x: Counts) -> Any:
    """Return the target of every request in order of arrival; of equal requests the first go to the first target.

    Raises:
        InputError: the order was not kept: a stream, or kinds that were merged elsewhere.
    """
    import polars as pl

    of_request = case.kinds.of_request
    if of_request is None:
        raise InputError(
            "the order of requests was not kept: the workload was read as a stream; "
            f"use the counts by kind in {TABLE}, or a file without limits by request below 128 MiB"
        )
    by_kind = np.repeat(np.tile(np.arange(len(x)), x.shape[1]), x.T.ravel())
    target = np.empty(len(of_request), np.int64)
    target[np.argsort(of_request, kind="stable")] = by_kind
    names = np.array([t.name for t in case.targets])
    return pl.DataFrame({"request": np.arange(len(of_request)), "target": names[target]})


@dataclass(frozen=True, eq=False, slots=True)
class Read:
    """A plan read back: the case and problem rebuilt from its targets and ask, x (K, m), and the file's body."""

    case: Case
    ask: Ask
    problem: Problem
    x: Counts
    body: dict[str, Any]

    @property
    def prices(self) -> Floats:
        """Price of each row, (R,)."""
        return np.array([row["price"] for row in self.body["rows"]], dtype=float)

    @property
    def totals(self) -> Totals:
        """Totals of the assignment in the table."""
        return totals(self.case, self.x)


def read_plan(path: Path) -> Read:
    """Read a plan and its table, and build its problem anew from targets and ask.

    Raises:
        FileFormatError: another kind of file, missing keys, or a table that does not fit the plan.
    """
    body = read_json(path, KIND)
    try:
        targets = tuple(Target.read(target) for target in body["targets"])
        asked: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in body["ask"].items()}
        ask = Ask(**asked)
        table = read_parquet(path.with_name(body["table"]), TABLE_KIND, COLUMNS)
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"{path}: {error!r}; expected a plan written by wattlane plan assign") from error
    unknown = sorted(set(table["target"].to_list()) - {target.name for target in targets})
    if unknown:
        raise FileFormatError(f"{body['table']}: unknown targets {', '.join(unknown)}; expected those of {path}")
    kinds, x = _kinds(table, [target.name for target in targets])
    case = Case(targets, kinds, ask.negative)
    problem = build(case, ask)
    if [row["name"] for row in body["rows"]] != [row.name for row in problem.rows]:
        raise InputError(f"{path}: its rows are not those its own ask gives; the file was changed")
    return Read(case, ask, problem, x, body)


def _kinds(table: Any, names: list[str]) -> tuple[Kinds, Counts]:
    key = [name for name in ("input_tokens", "output_tokens", "min_accuracy", "deadline_s") if name in table.columns]
    distinct = table.select(key).unique(maintain_order=True).with_row_index("kind")
    joined = table.join(distinct, on=key, how="left", nulls_equal=True)
    index, which = joined["kind"].to_numpy(), [names.index(name) for name in joined["target"].to_list()]
    x = np.zeros((len(names), len(distinct)), np.int64)
    np.add.at(x, (which, index), joined["requests"].to_numpy())
    limits = {name: distinct[name].to_numpy() for name in key[2:]}
    tin, tout = (distinct[name].to_numpy().astype(np.int64) for name in key[:2])
    return Kinds(tin, tout, x.sum(axis=0), **limits), x
