"""Prometheus text exposition: lines of `name{label="value",...} value [timestamp in ms]`.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

MS_PER_S = 1e3
LABELS = r'\{(?:[^"}]|"(?:\\.|[^"\\])*")*\}'
LINE = re.compile(
    rf"^(?P<name>[A-Za-z_:][\w:]*)(?P<labels>{LABELS})?[ \t]+(?P<value>\S+)(?:[ \t]+(?P<ms>-?\d+))?", re.M
)
LABEL = re.compile(r'([A-Za-z_]\w*)="((?:\\.|[^"\\])*)"')
ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of a page; `unix_s` is the source's own time of the value, None where it gives none (most do not)."""

    name: str
    labels: Mapping[str, str]
    value: float
    unix_s: float | None = None


def samples(text: str, prefix: str = "") -> Iterator[Sample]:
    """Yield the samples whose names begin with `prefix`; a value that is no number is left out."""
    for match in LINE.finditer(text):
        name = match["name"]
        if not name.startswith(prefix):
            continue
        try:
            value = float(match["value"])
        except ValueError:
            continue
        labels = {key: ESCAPED.sub(_unescaped, held) for key, held in LABEL.findall(match["labels"] or "")}
        yield Sample(name, labels, value, None if match["ms"] is None else int(match["ms"]) / MS_PER_S)


def _unescaped(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]
