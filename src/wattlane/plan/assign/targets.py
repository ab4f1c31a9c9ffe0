"""Where a request can go: a model on a system, with its law of energy and runtime, accuracy, GPUs and prices."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from wattlane.core.errors import InputError, UnknownNameError, WattlaneError
from wattlane.core.files import existing, read_json
from wattlane.model.registry import read_law
from wattlane.model.request_law import RequestFit, Side

ACCURACY = Path(__file__).with_name("accuracy.toml")


@dataclass(frozen=True, eq=False, slots=True)
class Target:
    """One model on one system.

    `accuracy` is the model's score A in [0, 1], None where unknown; `gpus` those of one instance; `instances` how many
    there are. Prices are of electricity, of a rented GPU, and of its carbon; None where unknown.
    """

    name: str
    law: RequestFit
    accuracy: float | None = None
    gpus: int = 1
    instances: int | None = None
    usd_per_kwh: float | None = None
    usd_per_gpu_hour: float | None = None
    gco2e_per_kwh: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file; `read` is the inverse."""
        return {
            "name": self.name,
            "model": self.law.model,
            "energy_j": _side(self.law.energy_j),
            "runtime_s": _side(self.law.runtime_s),
            "range": {name: list(limits) for name, limits in self.law.range.items()},
            **{name: getattr(self, name) for name in FIELDS},
        }

    @classmethod
    def read(cls, body: dict[str, Any]) -> Target:
        """Return the target that `as_dict` wrote."""
        law = RequestFit(
            body["model"],
            _side_from(body["energy_j"]),
            _side_from(body["runtime_s"]),
            {name: (float(pair[0]), float(pair[1])) for name, pair in body["range"].items()},
        )
        return cls(body["name"], law, **{name: body[name] for name in FIELDS})


FIELDS = ("accuracy", "gpus", "instances", "usd_per_kwh", "usd_per_gpu_hour", "gco2e_per_kwh")


def _side(side: Side) -> dict[str, Any]:
    return {
        "coefficients": list(side.coefficients),
        "intercept": side.intercept,
        "covariance": None if side.covariance is None else side.covariance.tolist(),
        "residual_sd": side.residual_sd,
        "rows": side.rows,
        "terms": list(side.terms),
        "relative": side.relative,
    }


def _side_from(body: dict[str, Any]) -> Side:
    import numpy as np

    covariance = None if body["covariance"] is None else np.array(body["covariance"])
    return Side(
        tuple(body["coefficients"]),
        body["intercept"],
        covariance,
        body["residual_sd"],
        body["rows"],
        terms=tuple(body["terms"]),
        relative=body["relative"],
    )


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """What a person says of the targets, in the order of the law files; None: not said.

    A law file may be named `NAME=path`; without a name the target has the name of the model in the file, and where
    two files hold the same model, that of the model and the file.
    """

    fits: Sequence[str]
    accuracy: Sequence[float] | None = None
    gpus: Sequence[int] | None = None
    instances: Sequence[int] | None = None
    usd_per_kwh: Sequence[float] | None = None
    usd_per_gpu_hour: Sequence[float] | None = None
    gco2e_per_kwh: Sequence[float] | None = None
    needs_accuracy: bool = True


def read_targets(spec: TargetSpec) -> tuple[Target, ...]:
    """Read the law files and join them with what was said.

    Raises:
        InputError: no law file, unreadable ones, lists of another length, values out of range; all reported together.
        UnknownNameError: an accuracy is needed, none was given, and the model is in no table.
    """
    problems: list[str] = [] if spec.fits else ["found no law file; expected one for each target"]
    laws: list[tuple[str | None, Path, RequestFit]] = []
    for text in spec.fits:
        name, path = _named(text)
        try:
            laws.append((name, path, _request_law(path)))
        except WattlaneError as error:
            problems.append(str(error))
    values = {name: _values(spec, name, problems) for name in FIELDS}
    if not problems:
        names = _names(laws)
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            problems.append(f"targets {', '.join(twice)} occur more than once; name law files as NAME=path")
        elif spec.needs_accuracy and spec.accuracy is None:
            values["accuracy"] = [known_accuracy(law.model) for _, _, law in laws]
    if problems:
        raise InputError.gathered("targets", problems)
    return tuple(
        Target(name, law, **{key: values[key][i] for key in FIELDS})
        for i, (name, (_, _, law)) in enumerate(zip(names, laws, strict=True))
    )


def _request_law(path: Path) -> RequestFit:
    law = read_law(path)
    if not isinstance(law, RequestFit):
        found = read_json(path).get("law")
        raise InputError(f"{path}: found law {found!r}; expected one of whole requests: bilinear or cache_aware")
    return law


def law_paths(spec: TargetSpec) -> tuple[Path, ...]:
    """Return the files of the laws."""
    return tuple(_named(text)[1] for text in spec.fits)


def _named(text: str) -> tuple[str | None, Path]:
    name, equals, path = text.partition("=")
    return (name, Path(path)) if equals and not Path(text).exists() else (None, Path(text))


def _names(laws: Sequence[tuple[str | None, Path, RequestFit]]) -> list[str]:
    models = [law.model for _, _, law in laws]
    return [
        given or (f"{law.model}@{path.stem}" if models.count(law.model) > 1 else law.model) for given, path, law in laws
    ]


def _values(spec: TargetSpec, name: str, problems: list[str]) -> list[Any]:
    given = getattr(spec, name)
    n = len(spec.fits)
    if given is None:
        return [1 if name == "gpus" else None] * n
    if len(given) != n:
        problems.append(f"{name} has {len(given)} values; expected {n}, one for each law file")
        return [None] * n
    least, most = (
        (0.0, 1.0) if name == "accuracy" else (1, math.inf) if name in ("gpus", "instances") else (0.0, math.inf)
    )
    bad = [(i, v) for i, v in enumerate(given) if not (math.isfinite(v) and least <= v <= most)]
    wanted = f"{least:g} to {most:g}" if most < math.inf else f"at least {least:g}"
    problems.extend(f"{name}[{i}] is {v:g}; expected {wanted}" for i, v in bad)
    return list(given)


@cache
def accuracy_table() -> dict[str, float]:
    """Return the shipped scores by model name, in [0, 1]."""
    rows = tomllib.loads(existing(ACCURACY).read_text(encoding="utf-8"))["model"]
    return {row["name"]: row["accuracy"] for row in rows}


def known_accuracy(model: str) -> float:
    """Return the shipped score of a model; raise `UnknownNameError` listing them."""
    table = accuracy_table()
    if model not in table:
        raise UnknownNameError("model in the table of accuracies", model, table, "Give its score with --accuracy.")
    return table[model]
