"""What a checked file gets wrong, in words: key, value, expectation."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

UNION_PARTS = ("str", "int", "float", "bool", "dict[str")  # what the checker appends to a place for each member
SHOWN = 80


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
