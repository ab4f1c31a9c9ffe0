"""Options that hold one number a target, separated by commas; all that do not read are reported together."""

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
