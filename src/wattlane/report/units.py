"""Numbers for people: three significant digits, units that suit, "absent" where there is no value.

The figures of one row share one unit, so that they can be compared at a glance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

ABSENT = "absent"
MINUS = "−"
GLUE = "\u00a0"  # keeps a number and its unit on one line

ENERGY = ((1e9, "GJ"), (1e6, "MJ"), (1e3, "kJ"), (1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"))
POWER = ((1e6, "MW"), (1e3, "kW"), (1.0, "W"), (1e-3, "mW"))
TIME = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
CLOCK = ((1e6, "MHz"),)
Scales = Sequence[tuple[float, str]]


def digits(value: float, significant: int = 3) -> str:
    """Return `value` with that many significant digits, thousands separated, no exponent."""
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    decimals = min(max(0, significant - 1 - magnitude), 12)
    return f"{value:,.{decimals}f}".replace("-", MINUS)


def scale(values: Sequence[float | None], scales: Scales) -> tuple[float, str]:
    """Return (divisor, unit) that suits the smallest of `values` that is not 0."""
    sizes = [abs(value) for value in values if value]
    if not sizes:
        return next(((size, unit) for size, unit in scales if size == 1.0), scales[0])
    chosen = min(sizes)
    return next(((size, unit) for size, unit in scales if chosen >= size), scales[-1])


def row(values: Sequence[float | None], scales: Scales) -> list[str]:
    """Return the values of one row in one unit, or each in its own when they lie 100 times apart."""
    smallest, _ = scales[-1]
    # below a thousandth of the smallest unit a value is rounding of a sum, not a figure to print digits of
    values = [0.0 if value is not None and abs(value) < 1e-3 * smallest else value for value in values]
    sizes = [abs(value) for value in values if value]
    if sizes and max(sizes) >= 100 * min(sizes):
        return [one(value, scales) for value in values]
    size, unit = scale(values, scales)
    return [ABSENT if value is None else f"{digits(value / size)}{GLUE}{unit}" for value in values]


def one(value: float | None, scales: Scales) -> str:
    """Return one value with the unit that suits it."""
    return row([value], scales)[0]


def exact(value: float | None, scales: Scales) -> str:
    """Return a value somebody set, without trailing zeros, with the unit that suits it."""
    if value is None:
        return ABSENT
    size, unit = scale([value], scales)
    return f"{value / size:,.10g}{GLUE}{unit}"


def target(share: float | None) -> str:
    """Return a share somebody set as a percentage, without trailing zeros."""
    return ABSENT if share is None else f"{100 * share:.10g}{GLUE}%"


def duration(value_s: float | None) -> str:
    """Return a length of time: ms or s below two minutes, then minutes, then hours."""
    if value_s is None or value_s < 120:
        return one(value_s, TIME)
    return f"{digits(value_s / 60)}{GLUE}min" if value_s < 7200 else f"{digits(value_s / 3600)}{GLUE}h"


def count(value: float | None) -> str:
    """Return a whole number with thousands separated."""
    return ABSENT if value is None else f"{value:,.0f}".replace("-", MINUS)


def plain(value: float | None) -> str:
    """Return a number without unit."""
    return ABSENT if value is None else digits(value)


def percent(fraction: float | None, decimals: int = 1) -> str:
    """Return a share as a percentage."""
    if fraction is None:
        return ABSENT
    text = f"{100 * fraction:.{decimals}f}"
    return f"{0:.{decimals}f}{GLUE}%" if float(text) == 0 else f"{text}{GLUE}%".replace("-", MINUS)


def attained(share: float | None) -> str:
    """Return an attainment, never rounded up to 100 % when a request missed."""
    if share is None:
        return ABSENT
    return f"100{GLUE}%" if share == 1 else percent(math.floor(share * 1e4) / 1e4, 2)


def between(interval: tuple[float, float] | None) -> str:
    """Return an interval of shares in words."""
    return ABSENT if interval is None else f"{percent(interval[0])} to {percent(interval[1])}"


def change(old: float | None, new: float | None) -> str:
    """Return the relative change with its sign; absent when either value is, or when `old` is 0."""
    if old is None or new is None or old == 0:
        return ABSENT
    text = percent((new - old) / old)
    return text if text.startswith(MINUS) or text == percent(0.0) else f"+{text}"


def points(old: float | None, new: float | None) -> str:
    """Return the difference of two shares in percentage points."""
    if old is None or new is None:
        return ABSENT
    text = f"{100 * (new - old):+.2f}"
    return f"{'0.00' if float(text) == 0 else text}{GLUE}points".replace("-", MINUS)


def words(value: Any) -> str:
    """Return any plain value of a result file as text."""
    if value is None:
        return ABSENT
    if isinstance(value, int):
        return ("no", "yes")[value] if isinstance(value, bool) else f"{value:,}".replace("-", MINUS)
    if isinstance(value, float):
        return _float_words(value)
    if isinstance(value, list | tuple):
        return ", ".join(words(inner) for inner in value) if value else ABSENT
    return str(value)


def _float_words(value: float) -> str:
    if value != 0 and not 1e-4 <= abs(value) < 1e9:
        return f"{value:.3e}".replace("-", MINUS)
    text = digits(value, 4)
    return text.rstrip("0").rstrip(".") if "." in text else text


def flat(body: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return a nested object as (name, text) pairs in its own order; names are joined by a dot."""
    pairs: list[tuple[str, str]] = []
    for name, value in body.items():
        full = f"{prefix}{name.replace('_', ' ')}"
        if isinstance(value, dict) and value:
            pairs += flat(value, f"{full} · ")
        else:
            pairs.append((full, ABSENT if value == {} else words(value)))
    return pairs
