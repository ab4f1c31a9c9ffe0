"""One self-contained HTML page from the folders of results: no script, no font, no image from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattlane.core.errors import InputError
from wattlane.core.files import atomic
from wattlane.report import answer, figures, tables, template, units
from wattlane.report.fits import figures as fit_figures
from wattlane.report.fits import page as fit_page
from wattlane.report.fits import result as fit_result
from wattlane.report.run import Run, load
from wattlane.report.shapings import figures as shaping_figures
from wattlane.report.shapings import page as shaping_page
from wattlane.report.shapings import result as shaping_result
from wattlane.report.suites import figures as suite_figures
from wattlane.report.suites import page as suite_page
from wattlane.report.suites import result as suite_result
from wattlane.report.summary import Case


@dataclass(frozen=True, slots=True)
class Tile:
    """One number a reader looks for first."""

    name: str
    value: str
    note: str


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of result: how its folder is known and read, its page, its figures."""

    plural: str
    found_in: Callable[[Path], bool]
    load: Callable[[Path], Any]
    render: Callable[[Sequence[Any]], str]
    figure: Callable[[str], Any]


def page(runs: Sequence[Path | str], out: Path | str) -> Path:
    """Write one page for all `runs` (folders of studies, fits, suites or shaping studies) to `out`; return its path.

    Raises:
        InputError: no run was given, a folder holds none of them, or there are several kinds.
        FileFormatError: a file of a run cannot be trusted.
        MissingExtraError: matplotlib or jinja2 is not installed.
    """
    if not runs:
        raise InputError("found no run; expected at least one folder that a study wrote")
    folders, path = [Path(run) for run in runs], Path(out)
    kinds = {kind.plural: kind for kind in map(_kind, folders)}
    if len(kinds) > 1:
        raise InputError(f"found {' and '.join(sorted(kinds))} together; expected a page of one kind, make two")
    (kind,) = kinds.values()
    text = kind.render([kind.load(folder) for folder in folders])
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def figure(run: Path | str, name: str, out: Path | str) -> Path:
    """Write one figure of a run as a PNG and return its path.

    Raises:
        UnknownNameError: no figure of that name.
        InputError: the run lacks what the figure shows.
    """
    kind = _kind(Path(run))
    found: Path = kind.figure(name).save(kind.load(Path(run)), Path(out))
    return found


def render(runs: Sequence[Run]) -> str:
    """Return the page as text; the same files give the same text."""
    many = len(runs) > 1
    return template.render(
        "page.html",
        runs=[_view(run, f"r{i}-") for i, run in enumerate(runs)],
        compared=tables.runs(runs) if many else None,
        title=f"Comparison of {len(runs)} studies" if many else f"{runs[0].name}: energy of serving",
    )


STUDIES = Kind("studies", lambda _folder: True, load, render, figures.find)
KINDS = (
    Kind("fits", fit_result.is_fit, fit_result.load, fit_page.render, fit_figures.find),
    Kind("suites", suite_result.is_suite, suite_result.load, suite_page.render, suite_figures.find),
    Kind(
        "shaping studies",
        shaping_result.is_shaping,
        shaping_result.load,
        shaping_page.render,
        shaping_figures.find,
    ),
    STUDIES,
)


def _kind(folder: Path) -> Kind:
    """Return the kind of result in a folder; a study where nothing else is found, so that it says what it lacks."""
    return next(kind for kind in KINDS if kind.found_in(folder))


def _view(run: Run, prefix: str) -> dict[str, object]:
    """Return everything the template shows of one run."""
    summary = run.summary
    return {
        "id": prefix.rstrip("-"),
        "name": run.name,
        "answer": answer.answer(run),
        "claimed": answer.claimed(run),
        "origin": answer.origin(run),
        "tiles": _tiles(run),
        "warnings": summary.warnings,
        "savings": tables.savings(run),
        "comparison": tables.comparison(run),
        "pictures": [template.picture(entry, run, prefix) for entry in figures.FIGURES],
        "deployments": tables.deployments(run),
        "commands": summary.commands,
        "months": tables.months(run),
        "factors": tables.factors(run),
        "workload": tables.workload(run),
        "measured": run.measured,
        "engine": None if run.measured is None else tables.engine(run.measured),
        "engine_latency": None if run.measured is None else tables.engine_latency(run.measured),
        "engine_facts": None if run.measured is None else tables.facts("Engine", run.measured.engine),
        "assumptions": summary.assumptions,
        "boundary": answer.boundary(run),
        "uncertainty": tables.facts("Uncertainty", summary.uncertainty),
        "ledger": tables.ledger(run),
        "law": tables.facts("Law", summary.law),
        "provenance": tables.facts("Provenance", {**summary.provenance, **run.provenance}),
    }


def _tiles(run: Run) -> list[Tile]:
    summary = run.summary
    base, plan = summary.baseline or Case(), summary.plan or Case()
    each = units.row([base.energy_j_per_request, plan.energy_j_per_request], units.ENERGY)
    shares = [units.attained(case.slo_attainment) for case in (base, plan)]
    tail = units.row([base.ttft_p99_s, plan.ttft_p99_s], units.TIME)
    goal = units.target(summary.scenario.slo.attainment)
    return [
        _saved(run),
        Tile("energy per request", each[1], f"baseline {each[0]}; {answer.origin(run)}"),
        Tile("SLO attainment", shares[1], f"baseline {shares[0]}; target {goal}"),
        Tile("TTFT, p99", tail[1], f"baseline {tail[0]}"),
        _saved_per_month(run),
    ]


def _saved(run: Run) -> Tile:
    interval = units.between(run.summary.saving_interval)
    if answer.claimed(run):
        note = f"{interval} against {answer.baseline(run)}; {answer.origin(run)}, {answer.boundary(run)}"
        return Tile("energy saved", units.percent(run.summary.saving_fraction), note)
    value = units.ABSENT if run.summary.saving_fraction is None else "none shown"
    return Tile("energy saved", value, f"interval {interval} against {answer.baseline(run)}")


def _saved_per_month(run: Run) -> Tile:
    month = run.summary.per_month.with_privileged
    if month is None or month.kwh is None:
        return Tile("saved per month", units.ABSENT, "energy absent")
    if not answer.claimed(run):
        return Tile("saved per month", "none shown", "as no saving is shown")
    _, kwh, money, carbon = tables.months(run).rows[0]
    note = f"{money}, {carbon}, with every knob, against the baseline; {answer.origin(run)}"
    return Tile("saved per month", kwh, note)
