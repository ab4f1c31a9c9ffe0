"""From a grid to its cells: the cross product of the factors of every sweep, each text filled in, doubles dropped.

A cell's key is a hash of everything that its result depends on, so that a grid may be edited and keep finished cells.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattlane.core.errors import InputError
from wattlane.core.files import sha256
from wattlane.core.types import Slo
from wattlane.core.workload import Workload
from wattlane.measure.campaigns.grid import Grid, LoadSection, SweepSection, Value, WholeOrText, label
from wattlane.measure.campaigns.metrics import METRICS
from wattlane.measure.sources import source_name
from wattlane.measure.warmup import Preparation
from wattlane.measure.widen import Precision
from wattlane.measure.workloads import resolve_workload

Scalar = str | int | float | bool
PLACE = re.compile(r"\{([A-Za-z_]\w*)(?:\.([A-Za-z_]\w*))?\}")
KEY_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Load:
    """The requests of a cell, filled in: exactly one of text, file, and (arrival, lengths, n)."""

    text: str | None = None
    file: str | None = None
    arrival: str | None = None
    lengths: str | None = None
    n: int | None = None

    @property
    def name(self) -> str:
        """One line for tables."""
        return self.text or self.file or f"arrival {self.arrival}; lengths {self.lengths}; n {self.n}"

    def workload(self, seed: int) -> Workload:
        """Return the requests; the same seed gives the same ones.

        Raises:
            InputError: the text, the file or a specification is wrong.
        """
        if self.arrival is None or self.lengths is None:
            return resolve_workload(self.text if self.text is not None else Path(str(self.file)), seed)
        from wattlane.workload.generation import generate

        return generate(arrival=self.arrival, lengths=self.lengths, n=self.n, seed=seed, name=self.name)

    def identity(self) -> dict[str, Any]:
        """Return what the requests depend on; a file counts by its content."""
        if self.file is not None:
            return {"sha256": sha256(Path(self.file))}
        return (
            {"text": self.text}
            if self.text is not None
            else {"arrival": self.arrival, "lengths": self.lengths, "n": self.n}
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """One configuration under one load. `skip` is why it is not to be run, None when it is."""

    key: str
    sweep: str
    factors: Mapping[str, Scalar]
    target: str
    load: Load
    concurrency: int | None
    preparation: Preparation
    slo: Slo
    cpu_watts: float | None
    limit_s: float
    seed: int
    skip: str | None = None
    precision: Precision | None = None
    meter: str | None = None

    @property
    def name(self) -> str:
        """The factors in one line."""
        return ", ".join(f"{name}={value}" for name, value in self.factors.items()) or self.target

    def as_dict(self) -> dict[str, Any]:
        """Return the whole configuration as plain values."""
        return {
            "cell": self.key,
            "sweep": self.sweep,
            "factors": dict(self.factors),
            "target": self.target,
            "workload": self.load.name,
            "concurrency": self.concurrency,
            "warmup_batches": self.preparation.batches,
            "warmup_batch": self.preparation.batch,
            "settle_s": self.preparation.settle_s,
            "energy_within": None if self.precision is None else self.precision.relative,
            "max_passes": None if self.precision is None else self.precision.max_passes,
            "slo": {"ttft_s": self.slo.ttft_s, "tbt_s": self.slo.tbt_s, "attainment": self.slo.attainment},
            "meter": self.meter,
            "cpu_watts": self.cpu_watts,
            "limit_s": self.limit_s,
            "seed": self.seed,
        }


def expand(grid: Grid) -> list[Cell]:
    """Return the cells of a grid in the order it is written; a cell that two sweeps ask for is there once.

    Raises:
        InputError: a text names no factor, a factor is never used, or a value is of the wrong kind; all together.
    """
    problems = [*_problems(grid)]
    cells: dict[str, Cell] = {}
    if not problems:
        for sweep in grid.sweeps:
            for values in _combinations({**grid.factors, **sweep.factors}):
                try:
                    cell = _cell(grid, sweep, values)
                except InputError as error:
                    problems.append(str(error))
                    continue
                cells.setdefault(cell.key, cell)
    if problems:
        raise InputError.gathered(grid.name, dict.fromkeys(problems))
    return list(cells.values())


def _combinations(factors: Mapping[str, list[Value]]) -> Iterator[dict[str, Value]]:
    for values in itertools.product(*factors.values()):
        yield dict(zip(factors, values, strict=True))


def _cell(grid: Grid, sweep: SweepSection, values: Mapping[str, Value]) -> Cell:
    section = sweep.workload or grid.workload
    assert section is not None
    asked = sweep.concurrency if sweep.concurrency is not None else grid.concurrency
    named = {name: label(value) for name, value in values.items()}
    target = fill(str(sweep.target or grid.target), values)
    meter = None if grid.meter is None else fill(grid.meter, values)
    if meter is not None:
        source_name(meter)
    load = _load(section, values)
    concurrency = None if asked is None else _whole("concurrency", asked, values)
    preparation = Preparation(
        grid.warmup.batches, _whole("warmup.batch", grid.warmup.batch, values), grid.warmup.settle_s
    )
    slo = grid.slo.as_slo()
    skip = next((s.reason for s in grid.skip if all(named.get(n) in v for n, v in s.where.items())), None)
    identity: dict[str, Any] = {
        "target": target,
        "workload": load.identity(),
        "concurrency": concurrency,
        "preparation": [preparation.batches, preparation.batch, preparation.settle_s],
        "slo": [slo.ttft_s, slo.tbt_s, slo.attainment],
        "cpu_watts": grid.cpu_watts,
        "limit_s": grid.limit_s,
        "seed": grid.seed,
        "factors": named,
    }
    precision = None if grid.window is None else grid.window.as_precision()
    if precision is not None:  # a grid without it keeps the keys, and so the finished cells, that it had
        identity["precision"] = [precision.relative, precision.max_passes]
    if meter is not None:
        identity["meter"] = meter
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:KEY_LENGTH]
    return Cell(
        key,
        sweep.name,
        named,
        target,
        load,
        concurrency,
        preparation,
        slo,
        grid.cpu_watts,
        grid.limit_s,
        grid.seed,
        skip,
        precision,
        meter,
    )


def _load(section: LoadSection, values: Mapping[str, Value]) -> Load:
    texts = {name: getattr(section, name) for name in ("text", "file", "arrival", "lengths")}
    filled = {name: None if text is None else fill(text, values) for name, text in texts.items()}
    n = None if section.n is None else _whole("workload.n", section.n, values)
    return Load(**filled, n=n)


def fill(text: str, values: Mapping[str, Value]) -> str:
    """Return `text` with `{factor}` and `{factor.field}` replaced.

    Raises:
        InputError: there is no such factor or field.
    """

    def put(match: re.Match[str]) -> str:
        name, part = match.group(1), match.group(2)
        value = values.get(name)
        found = value.get(part) if isinstance(value, dict) and part else None if part else value
        if found is None:
            raise InputError(
                f"{match.group(0)} in {text!r} names no value; expected one of {', '.join(_places(values))}"
            )
        return str(label(found)).lower() if isinstance(found, bool) else str(label(found))

    return PLACE.sub(put, text)


def _places(values: Mapping[str, Value]) -> list[str]:
    names = []
    for name, value in values.items():
        names += [f"{{{name}.{part}}}" for part in value] if isinstance(value, dict) else [f"{{{name}}}"]
    return names or ["the factors, of which there are none"]


def _whole(what: str, given: WholeOrText, values: Mapping[str, Value]) -> int:
    text = given if isinstance(given, int) else fill(given, values)
    try:
        number = int(text)
    except ValueError as error:
        raise InputError(f"{what} is {text!r}; expected a whole number of at least 1") from error
    if number < 1:
        raise InputError(f"{what} is {number}; expected a whole number of at least 1")
    return number


def _problems(grid: Grid) -> Iterator[str]:
    known: set[str] = set(grid.factors)
    for i, sweep in enumerate(grid.sweeps):
        where = f"sweep {sweep.name or i + 1}" if grid.sweep else "the grid"
        factors = {**grid.factors, **sweep.factors}
        known |= set(factors)
        section, target = sweep.workload or grid.workload, sweep.target or grid.target
        if section is None:
            yield f"{where}: missing table 'workload'; expected text, file, or arrival with lengths and n"
        if target is None:
            yield f"{where}: missing key 'target'; expected an engine such as 'xllamacpp:slots={{slots}}'"
        if section is None or target is None:
            continue
        asked = sweep.concurrency if sweep.concurrency is not None else grid.concurrency
        texts = [target, grid.meter, asked, grid.warmup.batch, *section.model_dump().values()]
        used = {match.group(1) for text in texts if isinstance(text, str) for match in PLACE.finditer(text)}
        for name in factors:
            if name not in used:
                yield f"{where}: no text holds the factor {name!r}; put {{{name}}} into target or workload"
    for i, skip in enumerate(grid.skip):
        for name in skip.where:
            if name not in known:
                yield f"skip.{i}.where names {name!r}; expected one of {', '.join(sorted(known)) or 'no factor'}"
    if grid.ladder is not None and grid.ladder not in known:
        yield f"ladder is {grid.ladder!r}; expected one of {', '.join(sorted(known)) or 'no factor'}"
    rungs = [v for s in grid.sweeps for v in {**grid.factors, **s.factors}.get(grid.ladder or "", [])]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in rungs):
        yield f"ladder {grid.ladder!r} has the values {rungs}; expected numbers"
    if grid.repeats.metric not in METRICS:
        yield f"repeats.metric is {grid.repeats.metric!r}; expected one of {', '.join(METRICS)}"
