"""One self-contained page of one fit or of several: the answer first, then everything a reviewer asks."""

from __future__ import annotations

from collections.abc import Sequence

from wattlane.report import template, units
from wattlane.report.fits import tables
from wattlane.report.fits.figures import FIGURES
from wattlane.report.fits.result import FitRun
from wattlane.report.tables import facts


def render(fits: Sequence[FitRun]) -> str:
    """Return the page as text; the same files give the same text."""
    many = len(fits) > 1
    return template.render(
        "fit.html",
        fits=[_view(fit, f"f{i}-") for i, fit in enumerate(fits)],
        compared=tables.compared([(fit.name, fit.fit) for fit in fits]) if many else None,
        title=f"Comparison of {len(fits)} fits" if many else fits[0].name,
    )


def _view(run: FitRun, prefix: str) -> dict[str, object]:
    fit = run.fit
    headline, sound = _headline(run)
    return {
        "id": prefix.rstrip("-"),
        "name": run.name,
        "headline": headline,
        "sound": sound,
        "lead": _lead(run),
        "warnings": _warnings(run),
        "tables": [tables.held_out(fit), tables.forms(fit), tables.rivals(fit), tables.coefficients(fit)],
        "pictures": [template.picture(entry, run, prefix) for entry in FIGURES],
        "details": [tables.variance(fit), tables.residuals(fit)],
        "facts": [facts("Runs", fit.runs), facts("Fitted range", fit.range), facts("Provenance", fit.provenance)],
    }


def _headline(run: FitRun) -> tuple[str, bool]:
    """Return the error a reader should remember, and whether the law is usable at all."""
    side = run.fit.sides["energy_j"]
    negative = sum(one.in_sample.negative_predictions for one in run.fit.sides.values())
    if not run.fit.held_out:
        return f"{units.percent(side.in_sample.mape)} mean error on runs the fit has seen; none left out", False
    one = run.fit.held_out[0]
    found = one.scores["energy_j"]
    words = f"{units.percent(found.mape)} mean error of energy on runs of an unseen {tables.group(one.by)}"
    return words, negative == 0 and found.rows == found.asked


def _lead(run: FitRun) -> str:
    side, runs = run.fit.sides["energy_j"], run.fit.runs
    seen = side.in_sample
    origin = " ".join(str(runs[name]) for name in ("energy_status", "boundary") if runs.get(name))
    method = tables.METHODS.get(run.fit.method, run.fit.method)
    return (
        f"Fit: {method}; {runs.get('rows', units.ABSENT)} runs; energy: {origin or units.ABSENT}. "
        f"On those runs mean error {units.percent(seen.mape)}, median {units.percent(seen.median_ape)}, "
        f"R² {tables.r2(seen.r2_centred)} centred and {tables.r2(seen.r2_uncentred)} uncentred."
    )


def _warnings(run: FitRun) -> list[str]:
    found = [str(note) for note in run.fit.runs.get("notes") or []]
    for name, side in run.fit.sides.items():
        count = side.in_sample.negative_predictions
        if count:
            found.append(
                f"{tables.SIDES.get(name, name)} is fitted below zero for {count} of {side.in_sample.rows} runs"
            )
    found += [f"{one.by}: {refusal}" for one in run.fit.held_out for refusal in one.refusals]
    return found
