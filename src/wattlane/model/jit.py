"""One way to compile a kernel: cached on disk, released from the interpreter lock, exact (no fast-math).

numba keys its cache by the file of the compiled function alone and does not notice an edited callee. The cache folder
is therefore named by a hash of every source file of `model`, `policy` and `sim`, and of the one in `core` they compile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from wattlane.core.env import cache_dir
from wattlane.core.extras import require

F = TypeVar("F", bound=Callable[..., Any])
PACKAGE = Path(__file__).resolve().parent.parent
COMPILED_PACKAGES = ("model", "policy", "sim")
COMPILED_FILES = ("core/release.py",)


@cache
def source_hash(root: Path = PACKAGE) -> str:
    """Return a short digest of every source file below `root`, the package, that can end up in a kernel."""
    digest, files = hashlib.sha256(), [root / name for name in COMPILED_FILES]
    for package in COMPILED_PACKAGES:
        files += sorted((root / package).rglob("*.py"))
    for path in files:
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _compiled(function: F, inner: bool) -> F:
    """Return `function` compiled; a folder for each form, since numba keeps both forms of a function under one key."""
    numba = require("numba")
    folder = cache_dir() / f"kernels-{source_hash()}" / ("inner" if inner else "kernel")
    folder.mkdir(parents=True, exist_ok=True)
    numba.config.CACHE_DIR = str(folder)
    wrappers = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False} if inner else {}
    compiler = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy", **wrappers)
    return cast(F, compiler(function))


def kernel(function: F) -> F:
    """Return `function` compiled by numba, its machine code kept between processes."""
    return _compiled(function, inner=False)


def inner(function: F) -> F:
    """Return `function` compiled for calls from kernels alone, allocating nothing.

    It is without the code that converts Python objects, which takes longer to compile than a small kernel, and without
    the counts of references to arrays, which take longer to run. A call from Python crashes the process.
    """
    return _compiled(function, inner=True)
