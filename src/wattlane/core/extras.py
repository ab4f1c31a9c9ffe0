"""Import an optional dependency, or say in one sentence how to install it."""

from __future__ import annotations

import importlib
from types import ModuleType

from wattlane.core.errors import MissingExtraError

EXTRA_OF_MODULE = {
    "numba": "sim",
    "scipy": "plan",
    "highspy": "plan",
    "matplotlib": "report",
    "jinja2": "report",
    "statsmodels": "stats",
    "xllamacpp": "engines",
    "gguf": "engines",
    "zeus": "zeus",
}


def require(module: str) -> ModuleType:
    """Return `module`, imported; raise `MissingExtraError` naming the extra that brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != top:
            raise
        raise MissingExtraError(EXTRA_OF_MODULE[top], top) from error
