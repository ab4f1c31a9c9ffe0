"""Fail when a file, a function or a class has outgrown its budget.

    file 400 lines (600 whatever the reason) · function 60 · class 300

A command line verb is a function like any other. Lines are counted as they stand, docstring and blank lines
included. Readability is lost in the tail of the distribution, so the tail is what is limited.

    python tools/size_budget.py [PATH ...]
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_LINES = 400
FILE_LINES_HARD = 600
FUNCTION_LINES = 60
CLASS_LINES = 300
ROOTS = ("src", "tools", "tests", "benchmarks", "examples", "docs")
# path -> why it may have more than FILE_LINES (never more than FILE_LINES_HARD)
EXCUSED: dict[str, str] = {}


def python_files(roots: list[Path]) -> Iterator[Path]:
    """Yield every Python file under the roots, in a stable order."""
    for root in roots:
        if root.is_file():
            yield root
        else:
            yield from sorted(path for path in root.rglob("*.py") if not any(p.startswith(".") for p in path.parts[1:]))


def file_problems(path: Path, lines: int) -> Iterator[str]:
    if lines > FILE_LINES_HARD:
        yield f"{path}: {lines} lines; the hard stop is {FILE_LINES_HARD}; split it by duty"
    elif lines > FILE_LINES and path.as_posix() not in EXCUSED:
        yield f"{path}: {lines} lines; the budget is {FILE_LINES}; split it, or give a reason in tools/size_budget.py"


def node_problems(path: Path, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            kind, budget = "function", FUNCTION_LINES
        elif isinstance(node, ast.ClassDef):
            kind, budget = "class", CLASS_LINES
        else:
            continue
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > budget:
            yield f"{path}:{node.lineno}: {kind} {node.name} has {lines} lines; the budget is {budget}"


def problems(roots: list[Path]) -> Iterator[str]:
    """Yield one line for everything over its budget, and for every excuse that is no longer needed."""
    for path in python_files(roots):
        text = path.read_text(encoding="utf-8")
        lines = text.count("\n")
        yield from file_problems(path, lines)
        yield from node_problems(path, ast.parse(text, filename=str(path)))
        if path.as_posix() in EXCUSED and lines <= FILE_LINES:
            yield f"{path}: {lines} lines; it needs no excuse in tools/size_budget.py any more"


def main(arguments: list[str]) -> int:
    roots = [Path(name) for name in arguments or ROOTS]
    found = list(problems([root for root in roots if root.exists()]))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
