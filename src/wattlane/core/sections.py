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
SAID = (  # wording of the checker, and the house's
    ("Input should be a valid tuple", "expected a list"),
    ("Input should be a valid", "expected a valid"),
    ("Input should be a finite", "expected a finite"),
    ("Input should be greater", "expected a value greater"),
    ("Input should be less", "expected a value less"),
    ("Input should be", "expected"),
)
V = TypeVar("V", int, float, str)
Whole = TypeVar("Whole", bound="Section")


class Section(BaseModel):
    """A table of a file: frozen, unknown keys refused, finite values of the type they say."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Listed = Annotated[tuple[V, ...], Field(strict=False)]  # TOML knows arrays, not tuples; their values stay strict
Number = Annotated[float, Field(strict=False)]  # TOML's 1 is a number too


def read_toml(path: Path, root: type[Whole], example: str) -> Whole:
    """Return the content of a TOML file as `root`; `example` is a file of that form.

    Raises:
        InputError: the file is missing or not TOML, or keys or values are wrong (all of them are listed).
    """
    return checked(str(path), read_table(path, example), root)


def read_table(path: Path, example: str) -> dict[str, Any]:
    """Return the tables of a TOML file as they stand.

    Raises:
        InputError: the file is missing or not TOML.
    """
    try:
        text = existing(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not valid TOML ({error}); see {example} for the form") from error
    return parse_table(str(path), text, example)


def parse_table(where: str, text: str, example: str) -> dict[str, Any]:
    """Return the tables of a TOML text; `where` names it in the refusal.

    Raises:
        InputError: it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: not valid TOML ({error}); see {example} for the form") from error


def checked(where: str, body: dict[str, Any], root: type[Whole]) -> Whole:
    """Return tables as `root`.

    Raises:
        InputError: keys or values are wrong; all of them are listed.
    """
    try:
        return root.model_validate(body)
    except ValidationError as error:
        raise InputError.gathered(where, in_words(error, root)) from error


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
        return f"missing key {where!r}{_wanted(root, place)}"
    if kind == "value_error":
        return f"{where}: {said.removeprefix('Value error, ')}"
    short = shown if len(shown) <= SHOWN else f"a {type(problem['input']).__name__} of {len(shown)} characters"
    if kind == "model_type":
        return f"{where} is {short}; expected a table, [{where}]"
    for before, after in SAID:
        said = said.replace(before, after)
    return f"{where} is {short}; {said}"


def _wanted(root: type[BaseModel], place: list[Any]) -> str:
    """Return what a required key holds, in words; nothing where the kind says little."""
    field = _fields(root, place[:-1]).get(str(place[-1]))
    if field is None:
        return ""
    if _model_of(field.annotation) is not None:
        return f"; expected a table, [{place[-1]}]"
    return "; expected a text" if field.annotation is str else ""


def fields_at(root: type[BaseModel], place: Iterable[Any]) -> list[str]:
    """Return the keys that the table at `place` may have; [] where it is not a table of its own."""
    return list(_fields(root, place))


def _fields(root: type[BaseModel], place: Iterable[Any]) -> dict[str, Any]:
    model: Any = root
    for part in place:
        if isinstance(part, int):
            continue
        field = getattr(model, "model_fields", {}).get(str(part))
        model = _model_of(field.annotation) if field else None
    found: dict[str, Any] = getattr(model, "model_fields", {})
    return found


def _model_of(kind: Any) -> Any:
    """Return the table type inside `kind` (`X`, `X | None`, `list[X]`), or None."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    found = [_model_of(part) for part in typing.get_args(kind)]
    return next((model for model in found if model), None)
