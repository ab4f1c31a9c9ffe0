"""`wattlane show`: what is known about GPUs, models, engines, factors and profiles, each value with its source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wattlane.cli.console import emit_json
from wattlane.core.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from wattlane.core.facts.cards import Card


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""
    app.command(name="show")(show)


def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT", help="gpus, gpu, models, model, engine, node, factors, profiles, profile, table."
        ),
    ],
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="For gpu, model, engine, node, profile (of a GPU, or a file) and table (of a model)."
        ),
    ] = None,
    gpu: Annotated[str | None, typer.Option(help="Of a table.")] = None,
    precision: Annotated[list[str] | None, typer.Option(help="Of a table; may be repeated. [default: bf16]")] = None,
    tp: Annotated[list[int] | None, typer.Option(help="Of a table: GPUs of a replica; may be repeated.")] = None,
    measured: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="Of a table: campaigns whose trials replace what is modelled."),
    ] = None,
    profile: Annotated[Path | None, typer.Option(help="Of a table: a profile file instead of the shipped one.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Of a table: where it goes, by suffix.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, in SI units.")] = False,
) -> None:
    """Show facts with their sources.

    Examples: wattlane show gpus · wattlane show gpu H100 · wattlane show model Llama-3.1-8B-Instruct ·
    wattlane show model path/to/config.json · wattlane show engine vllm ·
    wattlane show profile H100 · wattlane show node H100 ·
    wattlane show table Llama-3.1-8B-Instruct --gpu H100 -o table.parquet
    """
    if what == "table":
        _table(name, gpu, precision or ["bf16"], tp or [1], (measured or [], profile, out), as_json)
        return
    card = _card(what, name)
    if as_json:
        emit_json(card.body)
    else:
        typer.echo(str(card))


def _table(
    name: str | None,
    gpu: str | None,
    precision: list[str],
    tp: list[int],
    files: tuple[list[Path], Path | None, Path | None],
    as_json: bool,
) -> None:
    from wattlane.model.profiler import write_profiler_table

    measured, profile, out = files
    if name is None or gpu is None or out is None:
        raise InputError(
            "show table: found no model, no --gpu or no -o; expected all, as in: "
            "wattlane show table Llama-3.1-8B-Instruct --gpu H100 -o table.parquet"
        )
    found = write_profiler_table(name, gpu, out, precisions=precision, parallel=tp, runs=measured, profile=profile)
    if as_json:
        emit_json(found)
        return
    typer.echo(
        f"{found['cells']:,} cells: {found['measured']:,} with measured values, {found['refused']:,} that do not fit"
    )
    for quantity, error in found["interpolation_p95"].items():
        typer.echo(f"  between cells, {quantity:<26} {error:.1%} at the 95th percentile, on a held-out synthetic law")


def _card(what: str, name: str | None) -> Card:
    from wattlane.core.facts import cards

    lists: dict[str, Callable[[], Card]] = {
        "gpus": cards.gpus_card,
        "models": cards.models_card,
        "factors": cards.factors_card,
        "profiles": _profiles_card,
    }
    named: dict[str, Callable[[str], Card]] = {
        "gpu": cards.gpu_card,
        "model": cards.model_card,
        "engine": cards.engine_card,
        "node": cards.node_card,
        "profile": _profile_card,
    }
    if what in lists:
        return lists[what]()
    if what not in named:
        raise UnknownNameError("kind of card", what, [*lists, *named])
    if name is None:
        raise InputError(f"show {what}: found no name; expected one, as in: wattlane show {what} NAME")
    return named[what](name)


def _profiles_card() -> Card:
    from wattlane.model.cards import profiles_card

    return profiles_card()


def _profile_card(name: str) -> Card:
    from wattlane.model.cards import profile_card

    return profile_card(name)
