"""Versioned files: JSON for small, Parquet for long. Written atomically, refused when they cannot be trusted.

Every JSON file holds `schema` (an integer) and `kind`; every Parquet file the same two in its metadata. A file of a
newer schema, of another kind, truncated, or without a required column raises `FileFormatError` naming what was found.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattlane.core.errors import FileFormatError, InputError

if TYPE_CHECKING:
    import polars as pl

SCHEMA = 1


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on error nothing is left behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, kind: str, payload: dict[str, Any]) -> None:
    """Write `payload` with its schema and kind; NaN and infinity are refused, absent values are null."""
    body = {"schema": SCHEMA, "kind": kind, **payload}
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(body, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path, kind: str | None = None) -> dict[str, Any]:
    """Return the content of a versioned JSON file; raise `FileFormatError` if it cannot be trusted."""
    try:
        body = json.loads(existing(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path}: not valid JSON ({error}); the file is truncated or of another kind") from error
    if not isinstance(body, dict):
        raise FileFormatError(f"{path}: found a JSON {type(body).__name__}; expected an object with schema and kind")
    _check(path, body.get("schema"), body.get("kind"), kind)
    return body


def write_parquet(path: Path, kind: str, table: pl.DataFrame) -> None:
    """Write a table with its schema and kind in the metadata."""
    with atomic(path) as temporary:
        table.write_parquet(
            temporary, compression="zstd", metadata={"wattlane.schema": str(SCHEMA), "wattlane.kind": kind}
        )


def read_parquet(path: Path, kind: str | None = None, required: Iterable[str] = ()) -> pl.DataFrame:
    """Return a table; extra columns are allowed, missing ones are refused by name.

    A Parquet file without wattlane's metadata is accepted when it has the required columns: other tools write such.
    """
    import polars as pl

    existing(path)
    try:
        metadata = pl.read_parquet_metadata(path)
        table = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise FileFormatError(
            f"{path}: not a readable Parquet file ({error}); it is truncated or another kind"
        ) from error
    if "wattlane.schema" in metadata:
        _check(path, int(metadata["wattlane.schema"]), metadata.get("wattlane.kind"), kind)
    missing = [name for name in required if name not in table.columns]
    if missing:
        raise FileFormatError(
            f"{path}: missing columns {', '.join(missing)}; found {', '.join(table.columns)}; expected a {kind} table"
        )
    return table


def existing(path: Path) -> Path:
    """Return `path` if it is a file; raise `InputError` saying what was found instead."""
    if path.is_file():
        return path
    if path.is_dir():
        raise InputError(f"{path}: found a folder; expected a file")
    raise InputError(f"{path}: no such file; check the path, it is read relative to {Path.cwd()}")


def writable(folder: Path) -> Path:
    """Return `folder`, made where it is not there; what takes long asks first whether its result can be kept.

    Raises:
        InputError: there is a file of that name, or nothing can be written there.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: found a file; expected a folder for the result; name another with -o")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to ({error.strerror}); give another folder with -o") from error
    return folder


def sha256(path: Path) -> str:
    """Return the hex digest of a file's bytes."""
    with existing(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(path: Path, schema: object, found: object, kind: str | None) -> None:
    if not isinstance(schema, int):
        raise FileFormatError(f"{path}: found no schema version; expected schema {SCHEMA} of kind {kind}")
    if schema > SCHEMA or schema < 1:
        raise FileFormatError(
            f"{path}: found schema version {schema}; this version of wattlane reads up to {SCHEMA}; upgrade wattlane"
        )
    if kind is not None and found is not None and found != kind:
        raise FileFormatError(f"{path}: found a file of kind {found!r}; expected {kind!r}")
