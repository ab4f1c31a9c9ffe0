"""Fail where the project's text speaks of something other than the project.

Three kinds of words have no place in it: paths of one machine, hosts of package registries (people have their own),
and praise, which is left to the reader.

    python tools/wording.py [PATH ...]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOTS = (".",)
SUFFIXES = {
    ".py",
    ".md",
    ".toml",
    ".cff",
    ".html",
    ".css",
    ".js",
    ".csv",
    ".json",
    ".yaml",
    ".yml",
    ".txt",
    ".lock",
    "",
}
SKIPPED_FOLDERS = {"__pycache__", "out", "runs", "run", "build", "dist"}
# This file lists the words, and the licence and the lock are written by others; .git is a file in a linked worktree.
UNCHECKED = {".git", "tools/wording.py", "LICENSE", "requirements.lock"}
# Continuous integration says where its data lies.
MACHINE_PATHS_ALLOWED = {".ci/run"}
LARGEST_BYTES = 2_000_000

MACHINE_PATH = re.compile(
    r"(?<![\w.])/(?:work|tmp|root|mnt|home/\w+|Users/\w+)(?=[/\s\"'`)\]:,;]|$)|\bshared/(?:data|design|papers|field)\b"
)
REGISTRY = re.compile(r"pypi\.org|pythonhosted\.org|conda\.anaconda\.org|index[-_]url\s*=\s*\S*://|file:///opt", re.I)
PRAISE_WORDS = (
    "amazing", "awesome", "battle-tested", "best-in-class", "blazing", "blazingly", "breakthrough", "bulletproof",
    "cutting-edge", "delightful", "delve", "effortless", "effortlessly", "elegant", "elegantly", "exceptional",
    "fantastic", "first-class", "game-changer", "game-changing", "groundbreaking", "holistic", "incredible",
    "incredibly", "industry-leading", "innovative", "lightning-fast", "meticulous", "meticulously", "next-generation",
    "outstanding", "paradigm", "powerful", "production-grade", "production-ready", "remarkable", "revolutionary",
    "rock-solid", "seamless", "seamlessly", "showcase", "sophisticated", "state-of-the-art", "stunning", "superb",
    "supercharge", "unleash", "unparalleled", "unprecedented", "world-class",
)  # fmt: skip
PRAISE = re.compile(rf"\b(?:{'|'.join(PRAISE_WORDS)})\b", re.I)


def text_files(roots: list[Path]) -> Iterator[Path]:
    """Yield the text files under the roots, without hidden folders (but with .ci) and without results."""
    for root in roots:
        if root.is_file():
            yield root
            continue
        for path in sorted(root.iterdir()):
            if path.is_dir():
                hidden = path.name.startswith(".") and path.name != ".ci"
                if not hidden and path.name not in SKIPPED_FOLDERS:
                    yield from text_files([path])
            elif path.suffix in SUFFIXES and not path.is_symlink() and path.stat().st_size <= LARGEST_BYTES:
                yield path


def line_problems(path: Path, line: str) -> Iterator[str]:
    if path.as_posix() not in MACHINE_PATHS_ALLOWED:
        for match in MACHINE_PATH.finditer(line):
            yield f"a machine's path {match.group()!r}; name an environment variable or a relative path"
    for match in REGISTRY.finditer(line):
        yield f"a package registry {match.group()!r}; leave it to the user's own settings"
    for match in PRAISE.finditer(line):
        yield f"praise {match.group()!r}; write the fact or the condition"


def problems(roots: list[Path]) -> Iterator[str]:
    """Yield one line, with file and line number, for every word that does not belong."""
    for path in text_files(roots):
        if path.as_posix() in UNCHECKED:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            for problem in line_problems(path, line):
                yield f"{path}:{number}: {problem}"


def main(arguments: list[str]) -> int:
    found = list(problems([Path(name) for name in arguments or ROOTS]))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
