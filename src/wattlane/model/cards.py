"""Cards of profiles: every parameter with its unit and origin, errors, range and provenance."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from wattlane.core.facts.cards import Card, Row
from wattlane.core.facts.gpus import gpu
from wattlane.model.laws.phase import MEANING
from wattlane.model.predict_rows import PREFILL_NOTE, REFUSAL_FACTOR
from wattlane.model.profile import Family, Profile, profile_for, read_profile, shipped_profiles

ERRORS = {
    "left_out_median_ape_itl": "latency, median error on a left-out architecture",
    "left_out_median_ape_power": "power, median error on a left-out architecture",
    "left_out_mean_ape_power": "power, mean error on a left-out architecture",
    "in_sample_median_ape_itl": "latency, median error in sample",
    "in_sample_median_ape_power": "power, median error in sample",
}
CONFORMAL_WORDS = {"power": "power within", "itl": "token gap within", "energy": "J/output token within"}


def profiles_card() -> Card:
    """Return one line for each shipped profile."""
    profiles = shipped_profiles()
    rows = tuple(
        Row(p.gpu, f"{p.engine}: {', '.join(p.families)}", str(p.provenance.get("measurements", "")))
        for p in profiles.values()
    )
    return Card("profiles", rows, {"profiles": [_body(p) for p in profiles.values()]})


def profile_card(name: str) -> Card:
    """Return the profile of the GPU called `name`, or in a profile file; a GPU never measured shows a cold start.

    Raises:
        UnknownNameError: no such GPU.
        InputError: a profile file that cannot be read.
    """
    file = Path(name)
    profile = read_profile(file) if file.suffix == ".json" or file.is_file() else profile_for(gpu(name))
    rows = [Row("GPU", gpu(profile.gpu).title), Row("engine", profile.engine), *_origin_rows(profile)]
    for kind, family in profile.families.items():
        rows += [*_validity_rows(kind, family), *_error_rows(kind, family)]
    rows += [Row("note", "", text) for text in _notes(profile)]
    rows += _parameter_rows(profile)
    return Card(f"profile {profile.name}", tuple(rows), _body(profile))


def _origin_rows(profile: Profile) -> list[Row]:
    rows = []
    for key, value in profile.provenance.items():
        label = key.replace("_", " ")
        if isinstance(value, dict):
            rows += [
                Row(label, f"{part:.12}" if isinstance(part, str) else f"{part}", of) for of, part in value.items()
            ]
        else:
            rows.append(Row(label, "", f"{value}"))
    return rows


def _validity_rows(kind: str, family: Family) -> list[Row]:
    precisions = ", ".join(family.precisions) or "any"
    rows = [Row(f"{kind}: valid for precision", precisions)]
    for name, (low, high) in family.range.items():
        text = (
            f"{low / 1e9:.3g} to {high / 1e9:.3g} billion" if name == "active_params" else f"{low:,.4g} to {high:,.4g}"
        )
        rows.append(
            Row(f"{kind}: valid for {name}", text, f"refused past {REFUSAL_FACTOR:g} times, extrapolated between")
        )
    return rows


def _error_rows(kind: str, family: Family) -> list[Row]:
    rows = [
        Row(f"{kind}: error", f"{family.residuals[key]:.1%}", words)
        for key, words in ERRORS.items()
        if family.residuals.get(key) is not None
    ]
    if not family.residuals.get("rows"):
        rows.append(Row(f"{kind}: error", "absent", "no row of this GPU was measured"))
    else:
        seen = f"{family.residuals['rows']} rows, {family.residuals.get('architectures', '?')} architectures"
        rows.insert(0, Row(f"{kind}: fitted on", seen))
    spread = f"time ±{family.group_sd_time:.1%}, power ±{family.group_sd_power:.1%}"
    rows.append(Row(f"{kind}: new architecture", spread, "1 sd, log; part of the 95 % intervals"))
    power, itl, energy = family.within
    spread = f"time ±{itl:.1%}, power ±{power:.1%}, J/token ±{energy:.1%}"
    rows.append(Row(f"{kind}: configuration of it", spread, "1 sd, log, around the architecture's mean error"))
    for name, words in CONFORMAL_WORDS.items():
        if name in family.conformal:
            one = family.conformal[name]
            text = f"x or ÷ {math.exp(one.half_width_log):.2f}"
            rows.append(Row(f"{kind}: {words}", text, f"90 %, split-conformal over {one.groups} groups left out"))
    return rows


def _notes(profile: Profile) -> list[str]:
    notes = [
        "token gaps are means, batch ÷ tokens per second; TTFT is one request alone, unqueued, not measured here",
        PREFILL_NOTE,
        "prompt lengths are absent from the fitted tables: one latent mean a task, with a prior",
        "what a lower clock or a power cap does is a prior; every interval there holds its range",
    ]
    if profile.cold_start:
        notes.insert(
            0, f"never measured on {profile.gpu}: every answer is marked extrapolated and its interval is wider"
        )
    return notes


def _parameter_rows(profile: Profile) -> list[Row]:
    """Return a row a parameter, families that share its value together, with the sd of its logarithm."""
    rows = []
    kinds = list(profile.families)
    for j, (name, (unit, meaning)) in enumerate(MEANING.items()):
        shown: dict[tuple[str, str], list[str]] = {}
        for kind in kinds:
            family = profile.families[kind]
            sd = math.sqrt(max(float(family.covariance_log[j][j]), 0.0))
            shown.setdefault((f"{family.parameters[name]:.4g} {unit} ±{sd:.0%}", family.origins[name]), []).append(kind)
        rows += [Row(f"{', '.join(of)}: {name}", text, f"{meaning}; {origin}") for (text, origin), of in shown.items()]
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
            "within_sd": dict(family.within_sd),
            "range": {name: list(limits) for name, limits in family.range.items()},
            "precisions": list(family.precisions),
            "conformal": {name: one.half_width_log for name, one in family.conformal.items()},
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
