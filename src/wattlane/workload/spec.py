"""A variant chosen by name with its parameters: `kind=gamma,rate_rps=5,cv=2`, or the same as a mapping.

A `Kind` is a function with the list of its parameters. `resolve` turns a spec into the kind and the values, and
reports every unknown key, bad value and missing parameter together. Lists are written `1:2:3`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wattlane.core.errors import InputError, UnknownNameError

Spec = str | Mapping[str, object]


def number(text: str) -> float:
    """Read a finite number."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def name_of(text: str) -> str:
    """Read a name; an empty one is refused."""
    if not text:
        raise ValueError(text)
    return text


def numbers(text: str) -> tuple[float, ...]:
    """Read numbers separated by colons."""
    return tuple(number(part) for part in text.split(":"))


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter: its name (unit included), what it means, how it is read, and its default if it is optional."""

    name: str
    meaning: str
    required: bool = True
    default: Any = None
    read: Callable[[str], Any] = number


@dataclass(frozen=True, slots=True)
class Kind:
    """One variant: `make(rng, n, **values)` and the parameters it takes.

    `needs_n` marks a variant that has no rate, so that a duration alone does not say how many requests it makes.
    """

    name: str
    make: Callable[..., Any]
    summary: str
    params: tuple[Param, ...] = field(default=())
    needs_n: bool = False

    def usage(self) -> str:
        """Return an example of the spec, optional parameters in brackets."""
        parts = [f"kind={self.name}"]
        parts += [f"{p.name}=…" if p.required else f"[{p.name}={_shown(p.default)}]" for p in self.params]
        return ",".join(parts)


def resolve(what: str, spec: Spec, registry: Mapping[str, Kind]) -> tuple[Kind, dict[str, Any]]:
    """Return the kind a spec names and its values by parameter name.

    Args:
        what: the word for the message, as `arrival`.
        spec: `kind=NAME,parameter=value,…` or a mapping with the same keys.
        registry: the kinds to choose from.

    Raises:
        UnknownNameError: no such kind.
        InputError: the spec is not readable, or parameters are unknown, missing or not of their type.
    """
    given = pairs(what, spec)
    name = given.pop("kind", None)
    if name is None:
        raise InputError(f"{what} {spec!r}: found no kind; expected kind=NAME with one of: {', '.join(registry)}")
    if name not in registry:
        raise UnknownNameError(f"{what} kind", name, registry)
    kind = registry[name]
    values: dict[str, Any] = {}
    problems = [
        f"found the key {key!r}; expected {kind.usage()}" for key in given if key not in {p.name for p in kind.params}
    ]
    for param in kind.params:
        if param.name not in given:
            if param.required:
                problems.append(f"{param.name} is missing ({param.meaning}); expected {kind.usage()}")
            values[param.name] = param.default
            continue
        try:
            values[param.name] = param.read(given[param.name])
        except ValueError:
            problems.append(f"{param.name} is {given[param.name]!r}; expected {param.meaning}")
    if problems:
        raise InputError.gathered(f"{what} kind={name}", problems)
    return kind, values


def canonical(kind: Kind, values: Mapping[str, Any]) -> str:
    """Return the spec as text, in the order of the parameters; values left out are not shown."""
    shown = [f"{p.name}={_shown(values[p.name])}" for p in kind.params if values.get(p.name) is not None]
    return ",".join([f"kind={kind.name}", *shown])


def above_zero(what: str, **values: float) -> None:
    """Raise `InputError` naming every value that is not above zero."""
    problems = [f"{name} is {value}; expected above 0" for name, value in values.items() if not value > 0]
    if problems:
        raise InputError.gathered(what, problems)


def pairs(what: str, spec: Spec) -> dict[str, str]:
    """Return the keys and values of a spec as text.

    Raises:
        InputError: a part is no key=value, or a key is there twice.
    """
    if not isinstance(spec, str):
        return {key: _shown(value) for key, value in spec.items()}
    found: dict[str, str] = {}
    for part in spec.split(","):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise InputError(f"{what} {spec!r}: found {part!r}; expected key=value pairs separated by commas")
        if key.strip() in found:
            raise InputError(f"{what} {spec!r}: found {key.strip()!r} twice; expected each key once")
        found[key.strip()] = value.strip()
    return found


def _shown(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ":".join(_shown(part) for part in value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)
