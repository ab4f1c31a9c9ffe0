"""One side of a comparison: what a path holds, read into requests, trials and conditions.

folder with measurement.json    one run: its requests and its figures
folder with campaign.json       a campaign: a series of trials for each cell
folder of trials of one cell    RUN/cells/KEY: one series
served.parquet, or its folder   requests alone: a simulation, a study's plan, a gateway's day
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattlane.core.errors import FileFormatError, InputError
from wattlane.core.files import read_json
from wattlane.core.served import read_served
from wattlane.core.types import Origin
from wattlane.measure.campaigns.rows import figures
from wattlane.measure.campaigns.trials import finished
from wattlane.measure.comparing.meter_error import CARD

if TYPE_CHECKING:
    import polars as pl

MODELLED_KINDS = ("summary", "study", "simulation")  # kinds of JSON files beside a served table that was not measured
Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Series:
    """The valid trials of one configuration: figures by trial number, factors, and the conditions they share."""

    name: str
    factors: Mapping[str, Any]
    trials: Mapping[int, Figures]
    conditions: Mapping[str, Any]


@dataclass(frozen=True, eq=False, slots=True)
class Side:
    """What a path holds. `served` is None for campaigns and cells; `series` is empty for requests alone."""

    path: Path
    form: str
    served: pl.DataFrame | None
    series: tuple[Series, ...]
    conditions: Mapping[str, Any] = field(default_factory=dict)


def read_side(path: Path | str) -> Side:
    """Return what `path` holds.

    Raises:
        InputError: nothing there can be compared, or a file cannot be trusted.
    """
    place = Path(path)
    if place.is_file():
        return _requests(place, place)
    if (place / "measurement.json").is_file():
        return _measurement(place)
    if (place / "campaign.json").is_file():
        return _campaign(place)
    if sorted(place.glob("[0-9]*/measurement.json")):
        return Side(place, "cell", None, (_cell(place, place.name, {}),))
    if (place / "served.parquet").is_file():
        return _requests(place, place / "served.parquet")
    raise InputError(
        f"{place}: found nothing to compare; expected a served.parquet, or the folder of a measurement, of a campaign, "
        "or of one of its cells (RUN/cells/KEY)"
    )


def conditions_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must be alike on both sides, from the body of a `measurement.json`."""
    engine, energy = body["engine"], body["energy"]
    options = engine.get("options", {})
    known = {
        "origin": "measured",
        "energy origin": energy["status"],
        "boundary": energy["boundary"],
        "energy source": energy["source"],
        "engine": engine.get("name"),
        "engine version": engine.get("version"),
        "model": options.get("size") or engine.get("model"),
        "precision": options.get("precision", engine.get("precision")),
        "workload": body["workload"].get("name"),
        "slo": body["slo"],
        "cores": body.get("host", {}).get("cores"),
        "wattlane": body["provenance"]["version"],
    }
    return known | {name: value for name, value in options.items() if name not in known}


def _measurement(folder: Path) -> Side:
    body = read_json(folder / "measurement.json", "measurement")
    served = read_served(folder / "served.parquet")
    trials = {0: figures(body, served) | {CARD: _card(body, folder)}} if body["valid"] else {}
    one = Series(folder.name, {}, trials, conditions_of(body))
    return Side(folder, "measurement", served, (one,), {**one.conditions, "valid": body["valid"]})


def _campaign(folder: Path) -> Side:
    body = read_json(folder / "campaign.json", "campaign")
    series = [
        _cell(folder / "cells" / cell["cell"], cell["cell"], cell["factors"])
        for cell in body["cells"]
        if (folder / "cells" / cell["cell"]).is_dir()
    ]
    return Side(folder, "campaign", None, tuple(series))


def _cell(folder: Path, name: str, factors: Mapping[str, Any]) -> Series:
    trials, conditions = {}, dict[str, Any]()
    for place in sorted(folder.glob("[0-9]*")):
        body = finished(place)
        if body is not None and body["valid"]:
            found = figures(body, read_served(place / "served.parquet"))
            trials[int(place.name)] = found | {CARD: _card(body, place)}
            conditions = conditions_of(body)
    return Series(name, factors, trials, conditions)


def _card(body: Mapping[str, Any], folder: Path) -> str | None:
    """Return which sensors gave the energy: a UUID names a card anywhere, another name only on its host."""
    devices = body.get("devices") or []
    if not devices:
        return None
    named = "+".join(sorted(devices))
    if all(str(device).startswith("GPU-") for device in devices):
        return named
    try:
        host = read_json(folder / "provenance.json", "provenance").get("host")
    except InputError:
        return None
    return f"{host}: {named}" if host else None


def _requests(place: Path, file: Path) -> Side:
    served = read_served(file)
    modelled = _is_modelled(file.parent)
    has_energy = served["prefill_j"].null_count() < len(served)
    origin = Origin.MODELLED.value if modelled else "unknown"
    conditions = {"origin": origin, "energy origin": origin if has_energy else Origin.ABSENT.value}
    return Side(place, "requests", served, (), conditions)


def _is_modelled(folder: Path) -> bool:
    """Return whether a served table stands beside the files of a study or a simulation."""
    for file in folder.glob("*.json"):
        try:
            kind = read_json(file).get("kind")
        except FileFormatError:
            continue
        if kind in MODELLED_KINDS:
            return True
    return False
