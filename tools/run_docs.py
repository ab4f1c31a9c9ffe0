"""Run the examples of the documentation and compare what they print.

Which fenced blocks are run:

    ```python          always, each in a process of its own
    ```python skip     never (needs something this machine may lack)
    ```bash run        a shell example is run where it says so
    ```bash run slow   left out with --fast; `python slow` likewise
    ```text            directly behind a block that ran: its expected standard output; `...` stands for anything

All blocks of one file run in order in one temporary folder that holds a copy of examples/; files run side by side.

    python tools/run_docs.py [--fast] [FILE ...]
"""

from __future__ import annotations

import difflib
import doctest
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```[ \t]*$", re.M | re.S)
LIMIT_S = 600
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Block:
    """A fenced block that is to be run, and what it is expected to print (None: not stated)."""

    path: Path
    line: int
    language: str
    words: frozenset[str]
    code: str
    expected: str | None = None

    @property
    def runs(self) -> bool:
        """Python runs unless it says skip; a shell example runs where it says run."""
        if "skip" in self.words:
            return False
        return self.language == "python" or (self.language == "bash" and "run" in self.words)

    @property
    def command(self) -> list[str]:
        """How the block is run; a shell example stops at its first failing command."""
        if self.language == "python":
            return [sys.executable, "-c", self.code]
        return ["bash", "-euo", "pipefail", "-c", self.code]


def blocks(path: Path) -> Iterator[Block]:
    """Yield every fenced block of a Markdown file with the text block that follows it directly."""
    text = path.read_text(encoding="utf-8")
    fences = list(FENCE.finditer(text))
    for fence, following in zip(fences, [*fences, None][1:], strict=True):
        language, *words = fence["info"].split() or [""]
        expected = None
        if following and following["info"].strip() == "text" and not text[fence.end() : following.start()].strip():
            expected = textwrap.dedent(following["code"])
        line = text.count("\n", 0, fence.start()) + 1
        yield Block(path, line, language, frozenset(words), textwrap.dedent(fence["code"]), expected)


def failure(block: Block, folder: Path) -> str | None:
    """Run one block in `folder`; return what went wrong, or None."""
    scripts = str(Path(sys.executable).parent)
    settings = {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1", "COLUMNS": "120"}
    try:
        done = subprocess.run(
            block.command,
            cwd=folder,
            env={**os.environ, **settings, "MPLBACKEND": "agg"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"took more than {LIMIT_S} s"
    if done.returncode != 0:
        return f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    if block.expected is None or doctest.OutputChecker().check_output(block.expected, done.stdout, flags):
        return None
    difference = difflib.unified_diff(
        block.expected.splitlines(), done.stdout.splitlines(), "in the documentation", "printed", lineterm=""
    )
    return "another output than the documentation shows\n" + "\n".join(difference)


def run_file(path: Path, fast: bool) -> tuple[int, list[str]]:
    """Run the blocks of one file in order; return how many ran and what failed."""
    chosen = [block for block in blocks(path) if block.runs and not (fast and "slow" in block.words)]
    failures = []
    with tempfile.TemporaryDirectory() as name:
        if chosen and (ROOT / "examples").is_dir():
            shutil.copytree(ROOT / "examples", Path(name) / "examples")
        for block in chosen:
            problem = failure(block, Path(name))
            if problem:
                failures.append(f"{block.path}:{block.line}: {problem}")
    return len(chosen), failures


def main(arguments: list[str]) -> int:
    fast = "--fast" in arguments
    named = [Path(argument) for argument in arguments if argument != "--fast"]
    files = named or [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # files share nothing; their blocks run in order
        results = list(pool.map(lambda path: run_file(path, fast), files))
    for _, failures in results:
        for line in failures:
            print(line)
    failed = sum(len(failures) for _, failures in results)
    print(f"{sum(ran for ran, _ in results)} examples in {len(files)} files, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
