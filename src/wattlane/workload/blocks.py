"""A text file in blocks of whole lines, so that a file of any size is read in bounded memory.

A block is some megabytes that end on a line end; its first line number is known, so that a fault names its line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wattlane.core.files import existing

BLOCK_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What one pass over a file tells: its digest and how many line ends it holds."""

    sha256: str
    line_ends: int


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of a file; `first_line` counts from 1."""

    first_line: int
    data: bytes

    def lines(self) -> list[str]:
        """Return the lines as text, without their ends; bytes that are not UTF-8 are replaced."""
        return [line.decode("utf-8", "replace") for line in self.data.split(b"\n")]


def fingerprint(path: Path) -> Fingerprint:
    """Return digest and number of line ends of a file, read once."""
    digest, line_ends = hashlib.sha256(), 0
    with existing(path).open("rb") as file:
        while data := file.read(BLOCK_BYTES):
            digest.update(data)
            line_ends += data.count(b"\n")
    return Fingerprint(digest.hexdigest(), line_ends)


def blocks(path: Path, skip_lines: int = 0, size_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """Yield the file's lines in blocks of about `size_bytes`, after `skip_lines` lines (a header)."""
    with existing(path).open("rb") as file:
        for _ in range(skip_lines):
            file.readline()
        first_line = skip_lines + 1
        while data := file.read(size_bytes):
            data += file.readline()
            yield Block(first_line, data)
            first_line += data.count(b"\n")
