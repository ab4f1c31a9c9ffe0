"""Public traces by name: fetched once, checked by hash, resumed where a download broke off.

Bytes arrive in `FILE.part`; only a complete file with the right hash takes its name. Beside it lies
`FILE.source.json`: its origin, its licence, and whether its hash was verified or, where none is known, recorded.
"""

from __future__ import annotations

import http.client
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO

from wattlane.core.errors import FileFormatError, InputError, UnknownNameError
from wattlane.core.files import existing, read_json, sha256, write_json

REGISTRY = Path(__file__).parent / "traces.toml"
KIND = "download"
CHUNK_BYTES = 1 << 18
TIMEOUT_S = 60.0
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class PublicTrace:
    """Where a trace is and what it must be; `sha256` and `bytes` are None where they are not known."""

    name: str
    file: str
    url: str
    licence: str
    attribution: str
    sha256: str | None = None
    bytes: int | None = None


def public_traces(registry: Path | None = None) -> dict[str, PublicTrace]:
    """Return the traces of a registry by name; None is the one shipped.

    Raises:
        InputError: the registry is not readable or an entry lacks a key.
    """
    path = REGISTRY if registry is None else existing(registry)
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
        return {name: PublicTrace(name=name, **entry) for name, entry in entries.items()}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError) as error:
        keys = ", ".join(field.name for field in fields(PublicTrace))
        raise FileFormatError(f"{path}: {error}; expected a table for each trace with {keys}") from error


def download(name: str, folder: Path, *, registry: Path | None = None, progress: Progress | None = None) -> Path:
    """Fetch a public trace into `folder` and return its path; a file that is there already is checked, not fetched.

    Args:
        name: of the trace, as `azure-2023-conv`.
        folder: made if it is not there.
        registry: a TOML file in place of the shipped one.
        progress: called with the bytes so far and the bytes expected (None if unknown).

    Raises:
        UnknownNameError: no such trace.
        InputError: the origin cannot be reached, the download broke off (run again to resume), or the hash is wrong.
    """
    traces = public_traces(registry)
    if name not in traces:
        raise UnknownNameError("public trace", name, traces)
    trace = traces[name]
    target = Path(folder) / trace.file
    record = record_of(target)
    if target.is_file():
        recorded = str(read_json(record, KIND)["sha256"]) if record.is_file() else None
        _check(target, trace.sha256 or recorded, "remove the file to fetch it again")
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        _fetch(trace, part, target, progress)
        _check_part(part, trace)
        part.replace(target)
    found = {"sha256": sha256(target), "bytes": target.stat().st_size}
    write_json(record, KIND, {**asdict(trace), **found, "verified": trace.sha256 is not None})
    return target


def record_of(target: Path) -> Path:
    """Return the path of the record beside a downloaded file."""
    return target.with_name(f"{target.name}.source.json")


def _fetch(trace: PublicTrace, part: Path, target: Path, progress: Progress | None) -> None:
    have = part.stat().st_size if part.is_file() else 0
    if trace.bytes is not None and have >= trace.bytes:
        return
    request = urllib.request.Request(_allowed(trace.url), headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            resumed = getattr(response, "status", None) == 206
            have = have if resumed else 0
            length = response.headers.get("Content-Length")
            expected = trace.bytes if length is None else have + int(length)
            with part.open("ab" if resumed else "wb") as file:
                have = _copy(response, file, have, expected, progress)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            # The part is as long as the file, or longer: the check that follows tells which.
            return
        raise InputError(_by_hand(trace, target, f"the server answered {error.code} {error.reason}")) from error
    except (OSError, http.client.HTTPException) as error:
        raise InputError(_by_hand(trace, target, str(error))) from error
    if expected is not None and have < expected:
        raise InputError(f"{trace.url}: got {have:,} of {expected:,} bytes; run the same command again to resume")


def _copy(source: IO[bytes], file: IO[bytes], have: int, expected: int | None, progress: Progress | None) -> int:
    while chunk := source.read(CHUNK_BYTES):
        file.write(chunk)
        have += len(chunk)
        if progress is not None:
            progress(have, expected)
    return have


def _check_part(part: Path, trace: PublicTrace) -> None:
    try:
        _check(part, trace.sha256, "it was removed; run the same command again, and if this stays, the origin changed")
    except InputError:
        part.unlink()
        raise


def _check(path: Path, expected: str | None, advice: str) -> None:
    found = sha256(path)
    if expected is not None and found != expected:
        raise InputError(f"{path}: found sha256 {found}; expected {expected}; {advice}")


def _by_hand(trace: PublicTrace, target: Path, reason: str) -> str:
    return (
        f"{trace.url}: could not be fetched ({reason}); run again with a connection to resume, or place the file "
        f"by hand at {target.absolute()} and run the same command: it is then checked"
    )


def _allowed(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme in ("https", "file") or (parts.scheme == "http" and parts.hostname in LOCAL_HOSTS):
        return url
    raise InputError(f"{url}: expected an https, file or local http address")
