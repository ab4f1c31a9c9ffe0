"""What a study has already replayed, kept as lines, so that an interrupted study goes on where it stopped.

The folder is keyed by a hash of everything the results depend on; another key starts anew. A line cut off by a crash
is ignored: its work is done again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wattlane.core.files import writable

FOLDER = ".progress"


def key_of(parts: Any) -> str:
    """Return a short digest of JSON-able `parts`."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


class Checkpoint:
    """Lines of finished work under RUN/.progress; `resumed` says whether earlier work was found.

    Raises:
        InputError: the folder cannot be made.
    """

    def __init__(self, run: Path, key: str) -> None:
        self.folder = run / FOLDER
        marker = self.folder / "key"
        self.resumed = marker.is_file() and marker.read_text(encoding="utf-8", errors="replace") == key
        writable(run)
        self.folder.mkdir(exist_ok=True)
        if not self.resumed:
            for old in self.folder.glob("*.jsonl"):
                old.unlink()
            marker.write_text(key, encoding="utf-8")

    def lines(self, name: str) -> Iterator[Any]:
        """Yield what was kept under `name`, in order."""
        path = self.folder / f"{name}.jsonl"
        if not path.is_file():
            return
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue

    def keep(self, name: str, value: Any) -> None:
        """Append one finished piece of work; a line left unfinished by a crash is closed first."""
        path = self.folder / f"{name}.jsonl"
        with path.open("a+b") as file:
            if file.tell() > 0:
                file.seek(-1, 2)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(json.dumps(value).encode() + b"\n")
