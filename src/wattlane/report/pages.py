"""One self-contained HTML page from the folders of studies: no script, no font, no image from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from wattlane.core.errors import InputError
from wattlane.core.extras import require
from wattlane.core.files import atomic
from wattlane.core.version import VERSION
from wattlane.report import answer, canvas, figures, tables, units
from wattlane.report.figures.base import Figure
from wattlane.report.run import Run, load
from wattlane.report.summary import Case


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure on the page: `svg` is None when the run lacks what it shows."""

    name: str
    title: str
    svg: str | None
    caption: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One number a reader looks for first."""

    name: str
    value: str
    note: str


def page(runs: Sequence[Path | str], out: Path | str) -> Path:
    """Write one page for all `runs` (folders of studies) to `out` and return its path.

    Raises:
        InputError: no run was given, or a folder holds no study.
        FileFormatError: a file of a run cannot be trusted.
        MissingExtraError: matplotlib or jinja2 is not installed.
    """
    if not runs:
        raise InputError("found no run; expected at least one folder that a study wrote")
    loaded = [load(Path(path)) for path in runs]
    text = render(loaded)
    path = Path(out)
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def figure(run: Path | str, name: str, out: Path | str) -> Path:
    """Write one figure of a run as a PNG and return its path.

    Raises:
        UnknownNameError: no figure of that name.
        InputError: the run lacks what the figure shows.
    """
    return figures.find(name).save(load(Path(run)), Path(out))


def render(runs: Sequence[Run]) -> str:
    """Return the page as text; the same files give the same text."""
    jinja2 = require("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("wattlane.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["svg"] = require("markupsafe").Markup
    style = resources.files("wattlane.report.templates").joinpath("page.css").read_text(encoding="utf-8")
    many = len(runs) > 1
    return str(
        environment.get_template("page.html").render(
            runs=[_view(run, f"r{i}-") for i, run in enumerate(runs)],
            compared=tables.runs(runs) if many else None,
            title=f"Comparison of {len(runs)} studies" if many else f"{runs[0].name}: energy of serving",
            style=require("markupsafe").Markup(_variables() + style),
            version=VERSION,
            absent=units.ABSENT,
        )
    )


def _variables() -> str:
    """Return the palette as CSS variables, for light, for dark on a screen."""
    light = "".join(f"--{name}:{colour};" for colour, (name, _) in canvas.PALETTE.items())
    dark = "".join(f"--{name}:{colour};" for name, colour in canvas.PALETTE.values())
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme: dark){{:root{{{dark}}}}}\n"


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
        "pictures": [_picture(entry, run, prefix) for entry in figures.FIGURES],
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


def _picture(entry: Figure, run: Run, prefix: str) -> Picture:
    drawn = entry.draw(run, prefix)
    caption = entry.describe(run) if drawn is not None else f"{units.ABSENT}: this run has no {entry.needs}."
    return Picture(entry.name, entry.title, drawn, caption)


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
