"""Options that hold several values: numbers separated by commas, and `--set KEY=VALUE`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from wattlane.core.errors import InputError


def by_comma(*, whole: Collection[str] = (), **texts: str | None) -> dict[str, Any]:
    """Return each text as a tuple of numbers, None where it was not given; those in `whole` as whole numbers.

    Raises:
        InputError: names every option that holds something else.
    """
    problems: list[str] = []
    out: dict[str, Any] = {}
    for name, text in texts.items():
        read: Any = int if name in whole else float
        try:
            out[name] = None if text is None else tuple(read(word) for word in text.split(","))
        except ValueError:
            kind = "whole numbers" if read is int else "numbers"
            problems.append(f"--{name.replace('_', '-')} is {text!r}; expected {kind} separated by commas")
    if problems:
        raise InputError.gathered("options", problems)
    return out


def change(text: str) -> tuple[str, Any]:
    """Return the key and the value of `--set KEY=VALUE`; a value that is no TOML is taken as text.

    Raises:
        InputError: there is no key or no equals sign.
    """
    import tomllib

    key, equals, value = text.partition("=")
    if not (equals and key.strip()):
        raise InputError(f"--set {text!r}: expected KEY=VALUE, such as repeats.at_least=3")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value
