"""Result files as pages read them: every field that cannot be used is named, a folder or its file may be given."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from wattlane.core.errors import FileFormatError, InputError
from wattlane.core.files import read_json

Whole = TypeVar("Whole", bound=BaseModel)


def checked(path: Path, body: dict[str, Any], form: type[Whole]) -> Whole:
    """Return the content of a file as `form`.

    Raises:
        FileFormatError: names every field that cannot be used.
    """
    try:
        return form.model_validate(body)
    except ValidationError as error:
        problems = []
        for problem in error.errors():
            name = ".".join(map(str, problem["loc"]))
            found = f"is {problem['input']!r:.60}; {problem['msg']}" if problem["type"] != "missing" else "is missing"
            problems.append(f"{name} {found}")
        raise FileFormatError.gathered(str(path), problems) from error


def holds(path: Path, file: str) -> bool:
    """Return whether `path` is a file of that name or a folder with one."""
    return path.name == file or (path / file).is_file()


def read_result(path: Path, file: str, kind: str, form: type[Whole], made_by: str) -> tuple[Path, Whole]:
    """Return the folder of a result and the content of its `file`; `made_by` is the command that writes such a folder.

    Raises:
        InputError: there is no such file.
        FileFormatError: it cannot be trusted.
    """
    folder = path.parent if path.name == file else path
    if not (folder / file).is_file():
        raise InputError(f"{folder}: found no {file}; expected the folder of {made_by}")
    return folder, checked(folder / file, read_json(folder / file, kind), form)
