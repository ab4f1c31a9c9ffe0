"""The tables of the page of a fit, as rows of text."""

from __future__ import annotations

from collections.abc import Sequence

from wattlane.report import units
from wattlane.report.fits.result import Fit, Form, Scored
from wattlane.report.tables import Table

SIDES = {"energy_j": "energy of a request", "runtime_s": "runtime of a request"}
FORMS = {"without_intercept": "least squares, no intercept", "with_intercept": "least squares, with intercept"}
GROUPS = {"input_tokens": "input length", "output_tokens": "output length", "lengths": "pair of lengths"}
METHODS = {
    "ols": "least squares",
    "relative": "relative errors, never negative",
    "robust": "relative errors, never negative, robust",
}
LEVELS_SHOWN = 24


def number(value: float | None) -> str:
    """Return any number, with an exponent where it is far from 1."""
    return units.ABSENT if value is None else units.words(float(value))


def group(by: str) -> str:
    """Return a column of groups in words."""
    return GROUPS.get(by, by.replace("_", " "))


def p_value(value: float | None) -> str:
    """Return a p-value."""
    return units.ABSENT if value is None else "0" if value == 0 else f"{value:.2e}".replace("-", units.MINUS)


def r2(value: float | None) -> str:
    """Return an R², four decimals."""
    return units.ABSENT if value is None else f"{value:.4f}".replace("-", units.MINUS)


def coefficients(fit: Fit) -> Table:
    """Return the law's coefficients with their standard errors."""
    rows: list[tuple[str, ...]] = []
    for name, side in fit.sides.items():
        rows.append((f"{SIDES.get(name, name)}, {side.unit}",))
        known = side.standard_errors
        errors = [None if known is None else known[i] for i in range(len(side.coefficients))]
        rows += [
            (f"  {term}", number(value), number(error))
            for term, value, error in zip(side.terms, side.coefficients, errors, strict=True)
        ]
    note = f"Fitted by {METHODS.get(fit.method, fit.method)}. A coefficient at its bound of 0 has no error."
    return Table("Coefficients", ("", "value", "standard error"), tuple(rows), note)


def forms(fit: Fit) -> Table:
    """Return R² each way, for the law and for least squares with and without an intercept."""
    rows: list[tuple[str, ...]] = []
    for name, side in fit.sides.items():
        rows.append((SIDES.get(name, name),))
        one = side.in_sample
        rows.append(_form_row(f"the law, {METHODS.get(fit.method, fit.method)}", one, side.q2, "", ""))
        for key, title in FORMS.items():
            form = side.least_squares.get(key, Form())
            if form.refused is not None:
                rows.append((f"  {title}", *[units.ABSENT] * 8))
                continue
            tail = "" if form.dof is None else f" on {form.dof[0]} and {form.dof[1]}"
            rows.append(_form_row(title, form, form.q2, f"{number(form.f_statistic)}{tail}", p_value(form.f_p_value)))
    head = ("", "R² uncentred", "R² centred", "Q²", "MAPE", "median APE", "below zero", "F on dof", "p")
    note = (
        "Q² is R² (centred) of predictions with each run left out. Uncentred R² measures against zero and is higher; "
        "the two are not to be compared. Below zero: fitted values that are negative."
    )
    return Table("R² with and without an intercept, centred and uncentred", head, tuple(rows), note)


def _form_row(title: str, one: Scored | Form, q2: float | None, f: str, p: str) -> tuple[str, ...]:
    return (
        f"  {title}",
        r2(one.r2_uncentred),
        r2(one.r2_centred),
        r2(q2),
        units.percent(one.mape),
        units.percent(one.median_ape),
        units.count(one.negative_predictions),
        f,
        p,
    )


def held_out(fit: Fit) -> Table:
    """Return the scores of runs whose group was left out, and the tested coverage of their intervals."""
    rows: list[tuple[str, ...]] = []
    for side, title in SIDES.items():
        rows.append((title,))
        for one in fit.held_out:
            found, tested = one.scores[side], one.coverage[side]
            covered = f"{units.percent(tested.share)} of {units.target(tested.level)}"
            rows.append(
                (
                    f"  one {group(one.by)} of {one.groups}",
                    units.percent(found.mape),
                    units.percent(found.median_ape),
                    units.percent(found.bias),
                    units.percent(found.worst_ape),
                    r2(found.r2_centred),
                    units.count(found.negative_predictions),
                    units.ABSENT if tested.share is None else covered,
                    units.percent(tested.half_width),
                )
            )
    head = (
        "left out in turn",
        "MAPE",
        "median APE",
        "bias",
        "worst",
        "R² centred",
        "below zero",
        "covered",
        "half-width",
    )
    note = (
        "Rows of one group are left out together, never single rows. Covered: share of left-out rows inside conformal "
        "intervals set by other groups, of the level those few groups allow. Half-width: median, as a share of the "
        "prediction; absent where the groups are too few or the law goes below zero."
    )
    return Table("Groups the fit had not seen", head, tuple(rows), note)


def rivals(fit: Fit) -> Table:
    """Return other forms on the same runs and folds, energy only."""
    by = [one.by for one in fit.held_out]
    rows = []
    for one in fit.rivals:
        if one.refused is not None:
            rows.append((one.name, *[units.ABSENT] * (3 + len(by))))
            continue
        found = one.in_sample["energy_j"]
        left = [_left(one.held_out.get(name, {}).get("energy_j")) for name in by]
        rows.append(
            (
                one.name,
                units.percent(found.mape),
                units.percent(found.median_ape),
                units.count(found.negative_predictions),
                *left,
            )
        )
    head = ("", "MAPE, seen", "median APE, seen", "below zero", *(f"MAPE, {group(name)} unseen" for name in by))
    note = "Energy of a request. In brackets how many rows were scored, where a form gave no value for some."
    return Table("Other laws on the same runs", head, tuple(rows), note)


def _left(found: Scored | None) -> str:
    if found is None:
        return units.ABSENT
    some = "" if found.rows == found.asked else f" ({found.rows} of {found.asked})"
    return f"{units.percent(found.mape)}{some}"


def variance(fit: Fit) -> Table:
    """Return the analysis of variance of type II."""
    if fit.variance.refused is not None:
        return Table("Analysis of variance, type II", ("",), (), f"None: {fit.variance.refused}.")
    rows: list[tuple[str, ...]] = []
    for name, terms in fit.variance.tables.items():
        rows.append((name.replace("energy_j", "energy").replace("runtime_s", "runtime"),))
        rows += [
            (
                f"  {term.term.replace(':', ' × ')}",
                number(term.sum_of_squares),
                str(term.dof),
                "" if term.f_statistic is None else number(term.f_statistic),
                "" if term.p_value is None else p_value(term.p_value),
            )
            for term in terms
        ]
    note = "Token counts as levels. A term is judged beside all terms that do not contain it. "
    return Table(
        "Analysis of variance, type II, with interaction",
        ("", "sum of squares", "dof", "F", "p"),
        tuple(rows),
        note + "; ".join(fit.variance.notes),
    )


def residuals(fit: Fit) -> Table:
    """Return the mean relative residual and the median error at each level of each factor, for energy."""
    rows: list[tuple[str, ...]] = []
    for factor, levels in fit.residuals.get("energy_j", {}).items():
        rows.append((factor,))
        rows += [
            (f"  {one.level}", str(one.rows), units.percent(one.mean), units.percent(one.median_ape))
            for one in levels[:LEVELS_SHOWN]
        ]
    note = "Energy. Residual: fitted / measured − 1; below zero the law is too low."
    return Table("Residuals by factor", ("", "runs", "mean residual", "median APE"), tuple(rows), note)


def compared(fits: Sequence[tuple[str, Fit]]) -> Table:
    """Return one row a fit."""
    rows = []
    for name, fit in fits:
        one = fit.sides["energy_j"].in_sample
        left = fit.held_out[0] if fit.held_out else None
        unseen = "" if left is None else f"{units.percent(left.scores['energy_j'].mape)} ({group(left.by)})"
        rows.append(
            (name, fit.method, units.percent(one.mape), r2(one.r2_centred), str(one.negative_predictions), unseen)
        )
    return Table("Fits", ("", "method", "MAPE", "R² centred", "below zero", "MAPE unseen"), tuple(rows))
