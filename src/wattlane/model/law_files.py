"""Reading law files: the parts all laws share. Problems are gathered, so that a file is corrected once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wattlane.core.errors import FileFormatError, InputError
from wattlane.core.files import read_json, write_json
from wattlane.model.spread import Spread

KIND = "law"


def write_law(path: Path, law: str, body: Mapping[str, Any]) -> None:
    """Write a law file: schema, kind, the law's name, then its own keys."""
    write_json(path, KIND, {"law": law, **body})


def read_body(path: Path, law: str) -> dict[str, Any]:
    """Return the content of a law file.

    Raises:
        FileFormatError: another kind of file or another law.
    """
    body = read_json(path, KIND)
    if body.get("law") != law:
        raise FileFormatError(f"{path}: found law {body.get('law')!r}; expected {law!r}")
    return body


def numbers(path: Path, body: Mapping[str, Any], names: tuple[str, ...], least: float = 0.0) -> dict[str, float]:
    """Return the named numbers of a law file, each at least `least`.

    Raises:
        InputError: values that are missing, no numbers or too small, all together.
    """
    problems = [
        f"{name} is {body.get(name)!r}; expected a number of at least {least:g}"
        for name in names
        if not (is_number(body.get(name)) and body[name] >= least)
    ]
    if problems:
        raise InputError.gathered(str(path), problems)
    return {name: float(body[name]) for name in names}


def write_parameters(path: Path, law: str, parameters: Mapping[str, float], spread: Spread) -> None:
    """Write the file of a law that is a handful of numbers and its error on left-out groups."""
    write_law(path, law, {**parameters, "spread": spread.as_dict()})


def read_parameters(
    path: Path, law: str, names: tuple[str, ...], least: float = 0.0
) -> tuple[dict[str, float], Spread]:
    """Return what `write_parameters` wrote.

    Raises:
        FileFormatError: another kind of file or another law.
        InputError: values that are missing, no numbers or below `least`, all together.
    """
    body = read_body(path, law)
    return numbers(path, body, names, least), Spread.from_dict(body.get("spread", {}))


def is_number(value: object) -> bool:
    """Return whether a value of a JSON file is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
