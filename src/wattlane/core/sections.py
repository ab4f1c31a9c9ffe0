"""TOML files read whole and checked: frozen tables, unknown keys refused, every problem in words at once."""

from __future__ import annotations

import difflib
import tomllib
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wattlane.core.errors import InputError
from wattlane.core.files import existing

UNION_PARTS = ("str", "int", "float", "bool", "dict[str")  # what the checker appends to a place for each member
SHOWN = 80
V = TypeVar("V", int, float, str)
Whole = TypeVar("Whole", bound="Section")


class Section(BaseModel):
    """A table of a file: frozen, unknown keys refused, finite values of the type they say."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Listed = Annotated[tuple[V, ...], Field(strict=False)]  # TOML knows arrays, not tuples; their values stay strict
Number = Annotated[float, Field(strict=False)]  # TOML's 1 is a number too


def read_toml(path: Path, root: type[Whole], example: str) -> Whole:
    """Return the content of a TOML file as `root`.

    Raises:
        InputError: the file is missing or not TOML, or keys or values are wrong (all of them are listed).
    """
    try:
        body = tomllib.loads(existing(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML ({error}); see {example} for the form") from error
    try:
        return root.model_validate(body)
    except ValidationError as error:
        raise InputError.gathered(str(path), in_words(error, root)) from error


def in_words(error: ValidationError, root: type[BaseModel]) -> list[str]:
    """Return one line a problem; the members of a union count as one."""
    lines: dict[str, str] = {}
    for problem in error.errors():
        place = [part for part in problem["loc"] if not str(part).startswith(UNION_PARTS)]
        where = ".".join(str(part) for part in place) or "the file"
        lines.setdefault(where, f"{_line(where, place, problem, root)}")
    return list(lines.values())


def _line(where: str, place: list[Any], problem: Any, root: type[BaseModel]) -> str:
    kind, said, shown = problem["type"], problem["msg"], repr(problem["input"])
    if kind == "extra_forbidden":
        known = fields_at(root, place[:-1])
        near = difflib.get_close_matches(str(place[-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
        return f"unknown key {where!r}; {hint}"
    if kind == "missing":
        return f"missing key {where!r}"
    if kind == "value_error":
        return f"{where}: {said.removeprefix('Value error, ')}"
    short = shown if len(shown) <= SHOWN else f"a {type(problem['input']).__name__} of {len(shown)} characters"
    return f"{where} is {short}; {said.replace('Input should be', 'expected')}"


def fields_at(root: type[BaseModel], place: Iterable[Any]) -> list[str]:
    """Return the keys that the table at `place` may have; [] where it is not a table of its own."""
    model: Any = root
    for part in place:
        if isinstance(part, int):
            continue
        field = getattr(model, "model_fields", {}).get(str(part))
        model = _model_of(field.annotation) if field else None
    return list(getattr(model, "model_fields", {}))


def _model_of(kind: Any) -> Any:
    """Return the table type inside `kind` (`X`, `X | None`, `list[X]`), or None."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    found = [_model_of(part) for part in typing.get_args(kind)]
    return next((model for model in found if model), None)
