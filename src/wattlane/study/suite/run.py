"""`wattlane simulate --suite slo-energy`: every controller on one scenario, load by load, seed by seed.

Steps: full load → tuning → cells → thinning → clock prior → write. Each piece is kept as it is made, so that an
interrupted suite goes on with the next; a finished one is returned as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from wattlane.core.errors import UnknownNameError
from wattlane.core.files import read_json, write_json, write_parquet
from wattlane.core.pool import workers
from wattlane.core.provenance import Provenance, write_beside
from wattlane.core.version import VERSION
from wattlane.model.jit import source_hash
from wattlane.study.checkpoint import Checkpoint, key_of
from wattlane.study.config import read_study
from wattlane.study.suite.bench import Bench, bench
from wattlane.study.suite.body import FILE, KIND, Results, body
from wattlane.study.suite.cells import Worth
from wattlane.study.suite.config import MEDIUM, NAME, QUICK, Extent
from wattlane.study.suite.controllers import CONTROLLERS, DEFAULT, LOWEST, OURS, UNPRIVILEGED, Controller
from wattlane.study.suite.loads import FullLoad
from wattlane.study.suite.tune import Tuned

SUITES = (NAME,)
SHIPPED = "azure-conv.toml"
CELLS = "cells.parquet"
COMPARED = (DEFAULT, LOWEST, OURS, UNPRIVILEGED)  # under draws of the clock prior
T = TypeVar("T")
A = TypeVar("A")
Progress = Callable[[str, int, int, str], None]


def _silent(_step: str, _done: int, _of: int, _words: str) -> None:
    return


def run_suite(
    name: str,
    out: str | Path,
    *,
    scenario: str | Path | None = None,
    quick: bool = False,
    seed: int | None = None,
    extent: Extent | None = None,
    controllers: Sequence[Controller] = CONTROLLERS,
    progress: Progress = _silent,
) -> dict[str, Any]:
    """Run a suite into the folder `out` and return the content of its suite.json.

    Args:
        name: the only suite so far is "slo-energy".
        out: folder of the results; earlier work of the same suite in it is reused.
        scenario: a TOML file as for `wattlane study`; the shipped azure-conv.toml if None.
        quick: one load, one seed, a quarter of the hour.
        seed: replaces the scenario's seed.
        extent: what is replayed, instead of the whole or the quick part.
        progress: called with (step, done, of, words).

    Raises:
        UnknownNameError: there is no such suite.
        InputError: the scenario, its trace or a name in it is wrong.
        InfeasibleError: no batch limits keep the SLO at any rate.
    """
    if name not in SUITES:
        raise UnknownNameError("suite", name, SUITES)
    began, folder = time.monotonic(), Path(out)
    path = Path(scenario) if scenario is not None else _shipped()
    study = read_study(path, {} if seed is None else {"seed": seed})
    at = bench(study, path, extent or (QUICK if quick else Extent()))
    kept = Checkpoint(folder, _key(at, controllers))
    finished = folder / FILE
    if kept.resumed and finished.is_file() and any(kept.lines("finished")):
        progress("done", 1, 1, f"{folder} holds this suite already")
        return read_json(finished, KIND)
    results = _results(at, controllers, kept, progress)
    provenance = Provenance(
        study.seed, at.setting.inputs, {"phase": at.site.profile.name, "kernel_sources": source_hash()}
    )
    found = body(at, controllers, results, provenance)
    folder.mkdir(parents=True, exist_ok=True)
    write_parquet(folder / CELLS, "suite cells", pl.DataFrame(results.cells, infer_schema_length=None))
    write_json(finished, KIND, found)
    write_beside(folder, provenance, {"suite": time.monotonic() - began, "cpu": time.process_time()})
    kept.keep("finished", True)
    return read_json(finished, KIND)


def _shipped() -> Path:
    """Return the scenario that comes with the package."""
    with resources.as_file(resources.files("wattlane.study.suite") / SHIPPED) as path:
        return path


def _key(at: Bench, controllers: Sequence[Controller]) -> str:
    """Return a digest of everything the results depend on: the question, the law, the rows of the table, the code."""
    case, profile = at.setting.scenario.case, at.setting.scenario.profile
    own = [(file.name, file.read_text(encoding="utf-8")) for file in sorted(Path(__file__).parent.rglob("*.py"))]
    law = [profile.name, dict(profile.family(case).parameters), dict(profile.provenance), asdict(case)]
    rows = [one.described() for one in controllers]
    asked = [
        at.setting.study.model_dump(mode="json"),
        at.setting.inputs,
        asdict(at.extent),
        asdict(at.setting.defaults),
    ]
    return key_of([asked, law, rows, own, source_hash(), VERSION])


def _results(at: Bench, controllers: Sequence[Controller], kept: Checkpoint, progress: Progress) -> Results:
    """Do every step that is not kept yet, in a fixed order, on all cores."""
    by_name = {one.name: one for one in controllers}
    places = [(one.name, load) for one in at.traffic for load in at.loads(one)]

    def step(name: str, keys: Iterable[A], make: Callable[[A], Any]) -> list[tuple[A, Any]]:
        return _each(kept, progress, name, list(keys), make)

    full = step("full load", [one.name for one in at.traffic], lambda t: _full(at, t, by_name[DEFAULT]))
    at.full = {name: FullLoad(**line) for name, line in full}
    tuning = list(dict.fromkeys((t, at.extent.tuned_load(load)) for t, load in places))
    tuned = step("tuning the default", tuning, lambda k: at.tune(k[0], k[1], by_name[DEFAULT])._asdict())
    at.tuned = {(t, load, DEFAULT): _tuned(line) for (t, load), line in tuned}
    settings = [(t, load, one.name) for t, load in tuning for one in controllers if one.name != DEFAULT]
    others = step("tuning", settings, lambda k: at.tune(*k[:2], by_name[k[2]], at.tuned[*k[:2], DEFAULT])._asdict())
    at.tuned |= {key: _tuned(line) for key, line in others}
    for t, load in places:
        at.tuned |= {(t, load, one.name): at.tuned[t, at.extent.tuned_load(load), one.name] for one in controllers}
    seeds = range(1, at.extent.seeds + 1)
    asked = [(t, load, seed, one.name) for t, load in places for one in controllers for seed in seeds]
    cells = step("cells", asked, lambda k: at.cell(k[0], k[1], k[2], by_name[k[3]]))
    medium = [t for t, load in places if load == MEDIUM]
    thin = step(
        "thinning", [(t, n) for t in medium for n in (DEFAULT, OURS)], lambda k: at.thinned(k[0], MEDIUM, by_name[k[1]])
    )
    compared = tuple(by_name[name] for name in dict.fromkeys(COMPARED))
    draws = [(t, number) for t in medium for number in range(at.extent.prior_draws)]
    prior = step("clock prior", draws, lambda k: at.under_prior(k[0], k[1], compared))
    return Results(
        cells=[line for _, line in cells],
        thinned=dict(thin),
        prior=[(key, [Worth(*one) for one in line]) for key, line in prior],
        compared=tuple(one.name for one in compared),
    )


def _tuned(line: dict[str, Any]) -> Tuned:
    return Tuned(line["knobs"], Worth(*line["worth"]), line["tried"])


def _full(at: Bench, traffic: str, default: Controller) -> dict[str, Any]:
    return at.find_full_load(at.of(traffic), default).as_dict()


def _each(
    kept: Checkpoint, progress: Progress, name: str, keys: list[A], make: Callable[[A], Any]
) -> list[tuple[A, Any]]:
    """Return (key, result) in the order of `keys`: kept ones as they are, the rest made, kept and reported."""
    file = name.replace(" ", "-")
    known = {_plain(line["key"]): line["value"] for line in kept.lines(file)}
    missing = [key for key in keys if _plain(key) not in known]
    done = len(keys) - len(missing)
    progress(name, done, len(keys), "")
    with workers() as pool:
        for key, value in zip(missing, pool.map(make, missing), strict=True):
            kept.keep(file, {"key": key, "value": value})
            known[_plain(key)] = value
            done += 1
            progress(name, done, len(keys), "")
    return [(key, known[_plain(key)]) for key in keys]


def _plain(key: Any) -> Any:
    return tuple(key) if isinstance(key, list | tuple) else key
