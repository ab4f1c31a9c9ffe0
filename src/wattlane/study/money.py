"""What a saving is worth in a month: kWh at the wall of the data centre, money, CO2e, from stated factors.

kWh = saved board joules · (seconds of a month / horizon) · PUE / 3.6e6. The board is all that is modelled: hosts that
are switched off with their GPUs save more, hosts that stay on save no less.
"""

from __future__ import annotations

from typing import Any

from wattlane.core.facts.factors import J_PER_KWH, factor
from wattlane.study.config import FactorsSection

MONTH_S = 30.4375 * 86400.0
NAMES = ("electricity_usd_per_kwh", "carbon_gco2e_per_kwh", "pue")


def factors_used(section: FactorsSection) -> dict[str, Any]:
    """Return each factor's value, unit and source: the study's own number, or the catalogue's."""
    out: dict[str, Any] = {}
    for name in NAMES:
        own, known = getattr(section, name), factor(name)
        if own is None:
            source = {"source": known.source, "date": known.date}
            out[name] = {"value": known.value, "unit": known.unit, **source}
        else:
            out[name] = {"value": own, "unit": known.unit, "source": "the study file", "date": None}
    return out


def month(saved_j: float, horizon_s: float, factors: dict[str, Any]) -> dict[str, Any]:
    """Return a month's saving if every hour were like the workload's."""
    kwh = saved_j * (MONTH_S / horizon_s) * factors["pue"]["value"] / J_PER_KWH
    return {
        "kwh": kwh,
        "money": kwh * factors["electricity_usd_per_kwh"]["value"],
        "currency": "USD",
        "kgco2e": kwh * factors["carbon_gco2e_per_kwh"]["value"] / 1e3,
    }
