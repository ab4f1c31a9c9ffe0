"""Factors that turn joules into money and carbon: electricity price, grid intensity, PUE; see factors.toml.

    cost_usd = energy_j / J_PER_KWH × pue × electricity_usd_per_kwh

Markets quote per kilowatt-hour, so these factors keep that unit, in their name.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from wattlane.core.errors import UnknownNameError

J_PER_KWH = 3.6e6


@dataclass(frozen=True, slots=True)
class Factor:
    """One factor with its unit, source and date."""

    name: str
    value: float
    unit: str
    source: str
    date: str


@cache
def all_factors() -> dict[str, Factor]:
    """Return every factor of the catalogue by name."""
    text = (resources.files("wattlane.core.facts") / "factors.toml").read_text(encoding="utf-8")
    return {
        name: Factor(name, float(body["value"]), str(body["unit"]), str(body["source"]), str(body["date"]))
        for name, body in tomllib.loads(text).items()
    }


def factor(name: str) -> Factor:
    """Return the factor of that name, such as `electricity_usd_per_kwh`, `carbon_gco2e_per_kwh` or `pue`.

    Raises:
        UnknownNameError: no such factor; the message lists the catalogue.
    """
    if name not in all_factors():
        raise UnknownNameError("factor", name, all_factors(), "Give the value yourself for any other.")
    return all_factors()[name]
