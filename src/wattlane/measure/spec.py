"""The small text form of a choice with options: `name:key=value,key=value`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from wattlane.core.errors import InputError

Value = int | float | str


@dataclass(frozen=True, slots=True)
class Spec:
    """A name and its options, all text; `options_as` turns them into numbers."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)

    def options_as(self, defaults: Mapping[str, Value]) -> dict[str, Value]:
        """Return `defaults` overlaid with the given options, each cast to the type of its default.

        Raises:
            InputError: a key is unknown or a value is not of the default's type; all problems together.
        """
        values, problems = dict(defaults), []
        for key, text in self.options.items():
            if key not in defaults:
                problems.append(f"unknown option {key!r}; expected one of {', '.join(defaults)}")
                continue
            kind = type(defaults[key])
            try:
                values[key] = kind(text)
            except ValueError:
                problems.append(f"{key} is {text!r}; expected {'an integer' if kind is int else 'a number'}")
        if problems:
            raise InputError.gathered(self.name, problems)
        return values


def parse_spec(text: str) -> Spec:
    """Return the parts of `name:key=value,...`.

    Raises:
        InputError: an option is not of the form key=value.
    """
    name, _, tail = text.partition(":")
    pairs = [part.strip().partition("=") for part in tail.split(",") if part.strip()]
    wrong = [f"found {key!r}; expected key=value" for key, equals, value in pairs if not (key and equals and value)]
    if wrong:
        raise InputError.gathered(text, wrong)
    return Spec(name.strip(), {key.strip(): value.strip() for key, _, value in pairs})
