"""Kinds of plan files, and who checks and explains each: `certify` and `explain` choose by the file's `kind`."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from wattlane.core.errors import UnknownNameError
from wattlane.core.files import read_json

# kind of the file → package with a module `certify` and a module `explain`, each with a function of that name
KINDS = {"assignment": "wattlane.plan.assign", "configuration": "wattlane.plan.configure"}


def module_of(path: Path, verb: str) -> ModuleType:
    """Return the module that does `verb`, certify or explain, with the plan at `path`.

    Raises:
        FileFormatError: not a versioned JSON file.
        UnknownNameError: a file of another kind.
    """
    kind = str(read_json(path).get("kind"))
    if kind not in KINDS:
        raise UnknownNameError("kind of plan", kind, KINDS, f"{path} is not a plan.")
    return importlib.import_module(f"{KINDS[kind]}.{verb}")
