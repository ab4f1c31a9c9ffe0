"""`wattlane fit`: fit a law of energy and runtime to a table of measured runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wattlane.cli.console import emit_json, say

if TYPE_CHECKING:
    from wattlane.model.laws.bilinear import BilinearFit


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""
    app.command(name="fit")(fit)


def fit(
    table: Annotated[Path, typer.Argument(help="CSV with input_tokens, output_tokens, energy_j, runtime_s.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The law file to write.")],
    model: Annotated[str, typer.Option(help="Name of the model the runs are of.")],
    law: Annotated[str, typer.Option(help="Form of the law: bilinear.")] = "bilinear",
    intercept: Annotated[bool, typer.Option("--intercept", help="Fit with an intercept; published without.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the law file to stdout.")] = False,
) -> None:
    """Fit a law to measured runs of one model on one system. Rows that cannot be used are listed and refused.

    Example: wattlane fit runs.csv --law bilinear --model Llama-3.1-8B-Instruct -o law.json
    """
    from wattlane.core.files import read_json
    from wattlane.model.fitting import fit_table
    from wattlane.model.laws.bilinear import write_bilinear

    found = fit_table(table, law, model=model, intercept=intercept)
    write_bilinear(found, out)
    if as_json:
        emit_json(read_json(out))
    else:
        typer.echo(_words(found))
    negative = {name: _side(found, name).quality.negative_predictions for name in ("energy_j", "runtime_s")}
    for name, count in negative.items():
        if count:
            say.print(f"{count} of the fitted rows get a negative {name}: such requests will be refused", markup=False)
    say.print(f"wrote {out}", markup=False)


def _side(found: BilinearFit, name: str) -> Any:
    return getattr(found, name)


def _words(found: BilinearFit) -> str:
    lines = [f"{'':10}{'in':>12}{'out':>12}{'in*out':>12}{'intercept':>12}  R2 (centred)  MAPE (median)"]
    for name in ("energy_j", "runtime_s"):
        side = _side(found, name)
        values = "".join(f"{value:>12.4g}" for value in side.coefficients)
        constant = "-" if side.intercept is None else f"{side.intercept:.4g}"
        quality = side.quality
        lines.append(
            f"{name:<10}{values}{constant:>12}  {quality.r2_uncentred:.4f} ({quality.r2_centred:.4f})"
            f"  {quality.mape:.1%} ({quality.median_ape:.1%})"
        )
    return "\n".join(lines)
