"""Cards of profiles: every parameter with its unit and origin, errors, range and provenance."""

from __future__ import annotations

from typing import Any

from wattlane.core.facts.cards import Card, Row
from wattlane.core.facts.gpus import gpu
from wattlane.model.laws.phase import MEANING
from wattlane.model.profile import Family, Profile, profile_for, shipped_profiles

ERRORS = {
    "left_out_median_ape_itl": "latency, median error on a left-out architecture",
    "left_out_median_ape_power": "power, median error on a left-out architecture",
    "left_out_mean_ape_power": "power, mean error on a left-out architecture",
    "in_sample_median_ape_itl": "latency, median error in sample",
    "in_sample_median_ape_power": "power, median error in sample",
}


def profiles_card() -> Card:
    """Return one line for each shipped profile."""
    profiles = shipped_profiles()
    rows = tuple(
        Row(p.gpu, f"{p.engine}: {', '.join(p.families)}", str(p.provenance.get("measurements", "")))
        for p in profiles.values()
    )
    return Card("profiles", rows, {"profiles": [_body(p) for p in profiles.values()]})


def profile_card(name: str) -> Card:
    """Return the profile of the GPU called `name`; a GPU that was never measured shows its cold start.

    Raises:
        UnknownNameError: no such GPU.
    """
    profile = profile_for(gpu(name))
    rows: list[Row] = [Row("engine", profile.engine)]
    for kind, family in profile.families.items():
        rows += _family_rows(kind, family)
    for key, value in profile.provenance.items():
        if isinstance(value, dict):
            rows += [Row(key, f"{part:.12}" if isinstance(part, str) else f"{part}", of) for of, part in value.items()]
        else:
            rows.append(Row(key, "", f"{value}"))
    return Card(f"profile {profile.name}", tuple(rows), _body(profile))


def _family_rows(kind: str, family: Family) -> list[Row]:
    rows = []
    for name, value in family.parameters.items():
        unit, meaning = MEANING[name]
        rows.append(Row(f"{kind}: {name}", f"{value:.4g} {unit}", f"{meaning}; {family.origins[name]}"))
    rows += [
        Row(f"{kind}: range of {name}", f"{limits[0]:.4g} to {limits[1]:.4g}") for name, limits in family.range.items()
    ]
    rows += [
        Row(f"{kind}: error", f"{family.residuals[key]:.1%}", words)
        for key, words in ERRORS.items()
        if family.residuals.get(key) is not None
    ]
    rows.append(
        Row(
            f"{kind}: new architecture",
            f"time ±{family.group_sd_time:.1%}, power ±{family.group_sd_power:.1%}",
            "1 sd, log",
        )
    )
    return rows


def _body(profile: Profile) -> dict[str, Any]:
    families = {
        kind: {
            "parameters": {
                name: {"value": value, "unit": MEANING[name][0], "origin": family.origins[name]}
                for name, value in family.parameters.items()
            },
            "group_sd_time": family.group_sd_time,
            "group_sd_power": family.group_sd_power,
            "range": {name: list(limits) for name, limits in family.range.items()},
            "residuals": dict(family.residuals),
        }
        for kind, family in profile.families.items()
    }
    return {
        "name": profile.name,
        "gpu": profile.gpu,
        "engine": profile.engine,
        "cold_start": profile.cold_start,
        "families": families,
        "provenance": dict(profile.provenance),
    }
