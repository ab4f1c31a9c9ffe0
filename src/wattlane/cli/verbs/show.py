"""`wattlane show`: what is known about GPUs, models, engines, factors and profiles, each value with its source."""

from __future__ import annotations

from collections.abc import Callable
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
        str, typer.Argument(metavar="WHAT", help="gpus, gpu, models, model, engine, node, factors, profiles, profile.")
    ],
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="For gpu, model, engine, node and profile (of a GPU).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, in SI units.")] = False,
) -> None:
    """Show facts with their sources.

    Examples: wattlane show gpus · wattlane show gpu H100 · wattlane show model Llama-3.1-8B-Instruct ·
    wattlane show model path/to/config.json · wattlane show engine vllm ·
    wattlane show profile H100 · wattlane show node H100
    """
    card = _card(what, name)
    if as_json:
        emit_json(card.body)
    else:
        typer.echo(str(card))


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
