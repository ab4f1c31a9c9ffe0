"""`wattlane fit`: fit a law of energy and runtime to measured runs, and judge it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wattlane.cli.console import emit_json, say
from wattlane.core.errors import InputError

if TYPE_CHECKING:
    from wattlane.model.fit_runs import FitResult
    from wattlane.model.laws.table import LookupTable
    from wattlane.model.request_law import RequestFit

PAGE = "report.html"


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""
    app.command(name="fit")(fit)


def fit(
    runs: Annotated[list[Path], typer.Argument(metavar="RUNS...", help="Tables of runs, or folders of campaigns.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The law file to write.")],
    model: Annotated[
        str | None, typer.Option(help="Model whose runs are taken; the law's name. [default: the runs' own]")
    ] = None,
    law: Annotated[str, typer.Option(help="Form of the law: bilinear, cache_aware, table.")] = "bilinear",
    method: Annotated[
        str | None,
        typer.Option(
            help="ols (as published), relative (errors as shares, never negative), robust, pooled. [default: law's]"
        ),
    ] = None,
    intercept: Annotated[bool, typer.Option("--intercept", help="Fit with an intercept; published without.")] = False,
    kv_cache: Annotated[
        bool | None, typer.Option("--kv-cache/--no-kv-cache", help="Whether the engine kept it. [default: as runs say]")
    ] = None,
    order: Annotated[int, typer.Option(help="Without a cache: 2 terms, or 3 with attention.", min=2, max=3)] = 3,
    layout: Annotated[
        str | None, typer.Option(help="plain, campaign, wilkins or easli. [default: by each file]")
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN=VALUE", help="Take only these rows; may be repeated.")
    ] = None,
    pool: Annotated[bool, typer.Option("--pool", help="Fit several models or systems together.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Folder, or page.html, for the diagnosis: fit.json, runs.parquet and the page.")
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="With --report: leave its groups out in turn. [default: all with groups]"),
    ] = None,
    earlier: Annotated[
        Path | None,
        typer.Option(metavar="LAW", help="A law of another system to start from: few runs are then enough."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the law file to stdout.")] = False,
) -> None:
    """Fit a law to measured runs of one model on one system. Rows that cannot be used are listed and refused.

    With --report, all a reviewer asks: R2 each way, errors, groups left out, tested intervals, variance, residuals.

    Example: wattlane fit runs.csv --law cache_aware --model Llama-3.1-8B-Instruct -o law.json --report diagnosis
    """
    from wattlane.core.files import read_json
    from wattlane.model.fit_runs import fit_runs
    from wattlane.model.fitting import Ask, read_earlier

    folder = None if report is None else report.parent if report.suffix == ".html" else report
    chosen = dict(_choice(text) for text in where or [])
    ask = Ask(law, method, intercept, kv_cache, order, None if earlier is None else read_earlier(earlier))
    found = fit_runs(runs, out, ask, model=model, layout=layout, where=chosen, pool=pool, report=folder, by=by or [])
    emit_json(read_json(out)) if as_json else typer.echo(_words(found.fit))
    _say(found, out)
    if report is not None and folder is not None:
        _page(folder, report if report.suffix == ".html" else folder / PAGE)


def _choice(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise InputError(f"--where {text!r}: expected COLUMN=VALUE, such as boundary=gpu")
    return name, value


def _say(found: FitResult, out: Path) -> None:
    for note in found.fit.provenance.get("runs", {}).get("notes", []):
        say.print(f"note: {note}", markup=False, soft_wrap=True)
    for name, side in getattr(found.fit, "sides", {}).items():
        count = side.quality.negative_predictions if side.quality else 0
        if count:
            say.print(f"{count} of the fitted rows get a negative {name}: such requests will be refused", markup=False)
    say.print(f"wrote {out}", markup=False)


def _page(folder: Path, path: Path) -> None:
    from wattlane.report import page

    say.print(f"wrote {page([folder], path)}", markup=False)


def _words(found: RequestFit | LookupTable) -> str:
    from wattlane.model.laws.table import LookupTable

    if isinstance(found, LookupTable):
        return f"{found.model}: table of {len(found.cells)} cells, others between them interpolated and marked"
    terms = found.energy_j.terms
    lines = [f"{'':10}{''.join(f'{term:>16}' for term in (*terms, 'intercept'))}  R2 (centred)  MAPE (median)"]
    for name, side in found.sides.items():
        values = "".join(f"{value:>16.4g}" for value in side.coefficients)
        constant = "-" if side.intercept is None else f"{side.intercept:.4g}"
        quality = side.quality
        assert quality is not None
        lines.append(
            f"{name:<10}{values}{constant:>16}  {quality.r2_uncentred:.4f} ({quality.r2_centred:.4f})"
            f"  {quality.mape:.1%} ({quality.median_ape:.1%})"
        )
    return "\n".join(lines)
