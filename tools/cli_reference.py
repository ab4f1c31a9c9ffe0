"""Write docs/reference/cli.md from the command line itself.

python tools/cli_reference.py           write the page
python tools/cli_reference.py --check   fail when the page is not what the command line says
"""

from __future__ import annotations

import enum
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from wattlane.cli.app import app

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "cli.md"
HEAD = """# Command line

<!-- Written by tools/cli_reference.py; do not edit. -->

Data go to standard output, words for people to standard error.

| exit code | meaning |
|--:|---|
| 0 | done |
| 1 | bad input |
| 2 | usage |
| 3 | infeasible: nothing keeps the SLOs |
| 4 | a measurement is not valid, or cannot be made here |
| 5 | refused: outside the law's calibrated range |
| 130 | interrupted; the same command resumes |
"""


def cell(text: str) -> str:
    """Return text that fits into one cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def default_of(parameter: Any) -> str:
    """Return the default as a person would type it; nothing for a flag, a required or an unset one."""
    default = parameter.default
    if parameter.required or default is None or isinstance(default, bool) or callable(default):
        return ""
    value = getattr(default, "value", default)
    return f"`{value}`" if str(value) else ""


def kind_of(parameter: Any) -> str:
    """Return what an option takes: its metavar, its choices, or PATH, INTEGER, NUMBER, TEXT."""
    if parameter.metavar:
        return str(parameter.metavar)
    annotation = parameter.type_descriptor.annotation
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return "|".join(str(member.value) for member in annotation)
    return {Path: "PATH", int: "INTEGER", float: "NUMBER"}.get(annotation, "TEXT")


def names_of(parameter: Any) -> str:
    """Return `-o, --out PATH` for an option, `NAME` for an argument."""
    if parameter.param_type_name == "argument":
        name = (parameter.metavar or parameter.name).upper()
        return f"`{name}...`" if parameter.nargs == -1 and not name.endswith("...") else f"`{name}`"
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    if parameter.is_flag:
        return f"`{names}`"
    return cell(f"`{names} {kind_of(parameter)}`")


def rows(command: Any) -> Iterator[str]:
    """Yield the table of a command's arguments and options."""
    shown = [p for p in command.params if not getattr(p, "hidden", False) and p.name not in ("help", "version")]
    if not shown:
        return
    yield "| argument or option | default | meaning |"
    yield "|---|---|---|"
    for parameter in shown:
        yield f"| {names_of(parameter)} | {default_of(parameter)} | {cell(getattr(parameter, 'help', None) or '')} |"
    yield ""


def sections(command: Any, name: str) -> Iterator[str]:
    """Yield the section of a command, then those of its sub-commands in alphabetical order."""
    children = getattr(command, "commands", {})
    if name != "wattlane":
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        usage = " ".join([name, *(names_of(p).strip("`") for p in arguments), "COMMAND" if children else "[OPTIONS]"])
        yield from (f"## {name}", "", f"`{usage}`", "", inspect.cleandoc(command.help or "").replace("\b\n", ""), "")
        yield from rows(command)
    for child in sorted(children):
        yield from sections(children[child], f"{name} {child}")


def page() -> str:
    """Return the whole page."""
    body = "\n".join(sections(typer.main.get_command(app), "wattlane")).rstrip()
    return f"{HEAD}\n{body}".rstrip() + "\n"


def main(arguments: list[str]) -> int:
    text = page()
    if "--check" not in arguments:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{PAGE.name} is not what the command line says; write it again: python tools/cli_reference.py")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
