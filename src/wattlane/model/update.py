"""Few-shot update: a profile and a handful of measured points of one's own give a profile of one's own.

The same posterior mode as the fit of the shipped profile, with what that fit knew as prior: its parameters, their
covariance, how far a GPU or engine it never saw may deviate, and how far a new architecture's time and power may be
off. The last two are directions in the log parameters (all times longer, all watts higher), so that a bias the points
show is learnt as one, and the covariance afterwards is that of the updated law on what was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.model.calibration import Point
from wattlane.model.fit_phase import LATENT, POWER_SD, TIME_SD, Hierarchy, errors, solve, table
from wattlane.model.laws.phase import PARAMETERS
from wattlane.model.profile import Family, Profile

SECONDS = ("host_s", "host_per_seq_s", "launch_per_layer_s", "route_per_layer_s", "comm_per_layer_s", "sampling_passes")
WATTS = ("busy_share", "host_share", "layer_share")
JOULES = ("byte_j", "flop_j")


def _directions() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how the log parameters move when every time, and when every power, rises by one log unit."""
    rates = [name.startswith("eta_") or name == "link_share" for name in PARAMETERS]
    times = [name in SECONDS or name in JOULES for name in PARAMETERS]
    watts = [name in WATTS or name in JOULES for name in PARAMETERS]
    return np.array(times, dtype=float) - np.array(rates, dtype=float), np.array(watts, dtype=float)


def _prior(family: Family) -> Hierarchy:
    slower, hotter = _directions()
    own = np.array([family.deviation_sd.get(name, 0.0) for name in PARAMETERS])
    n, m = len(PARAMETERS), len(LATENT)
    covariance = np.zeros((n + m, n + m))
    covariance[:n, :n] = family.covariance_log + np.diag(own**2 + 1e-8)
    covariance[:n, :n] += family.group_sd_time**2 * np.outer(slower, slower)
    covariance[:n, :n] += family.group_sd_power**2 * np.outer(hotter, hotter)
    covariance[n:, n:] = np.diag([sd**2 for _, sd in LATENT.values()])
    known = family.residuals.get("latent", {})
    latent = [known.get(name, centre) for name, (centre, _) in LATENT.items()]
    ceiling = np.array([0.0 if name.startswith("eta_") else np.inf for name in (*PARAMETERS, *LATENT)])
    centre = np.log([*(family.parameters[name] for name in PARAMETERS), *latent])
    return Hierarchy(PARAMETERS, 1, np.arange(n)[None, :], centre, covariance, ceiling, slice(n, n + m))


def update(profile: Profile, points: Sequence[Point]) -> Profile:
    """Return `profile` after `points`; families without a point stay as they are.

    Args:
        profile: what was known, shipped or updated before.
        points: steady decoding measured on the GPU of the profile; `input_tokens` where it is known.

    Raises:
        InputError: no points, or points of another GPU.
    """
    others = sorted({p.gpu.name for p in points} - {profile.gpu})
    if not points or others:
        found = f"points of {', '.join(others)}" if others else "no points"
        raise InputError(f"update of {profile.name}: found {found}; expected measured points of {profile.gpu}")
    families = dict(profile.families)
    for kind in sorted(families):
        mine = [p for p in points if p.model.is_moe == (kind == "moe")]
        if mine:
            families[kind] = _updated(families[kind], mine)
    unserved = {"moe" if p.model.is_moe else "dense" for p in points} - set(families)
    if unserved:
        raise InputError(f"profile {profile.name} has no {', '.join(unserved)} family; found {', '.join(families)}")
    note = {**profile.provenance, "updated_with_rows": profile.provenance.get("updated_with_rows", 0) + len(points)}
    return replace(
        profile, name=f"{profile.name.removesuffix(' (updated)')} (updated)", families=families, provenance=note
    )


def _updated(family: Family, points: Sequence[Point]) -> Family:
    rows = table([points])
    prior = _prior(family)
    x, covariance = solve(rows, prior)
    n = len(PARAMETERS)
    parameters = dict(zip(PARAMETERS, np.exp(x[:n]).tolist(), strict=True))
    time, power = errors(parameters, prior.latents(x), rows)
    limits = {
        name: (min(low, *values), max(high, *values))
        for name, (low, high) in family.range.items()
        if (values := [_asked(p)[name] for p in points])
    }
    residuals: dict[str, Any] = {
        **family.residuals,
        "updated_rows": len(points),
        "updated_median_ape_itl": round(float(np.median(np.abs(np.expm1(time)))), 4),
        "updated_median_ape_power": round(float(np.median(np.abs(np.expm1(power)))), 4),
    }
    return replace(
        family,
        parameters=parameters,
        origins=dict.fromkeys(PARAMETERS, "updated from the shipped profile"),
        covariance_log=covariance[:n, :n],
        # what the points say of their architecture is in the covariance now; a row is never surer than its noise
        group_sd_time=min(family.group_sd_time, TIME_SD),
        group_sd_power=min(family.group_sd_power, POWER_SD),
        range=limits,
        residuals=residuals,
        precisions=tuple(sorted({*family.precisions, *(p.precision for p in points)})),
    )


def _asked(p: Point) -> dict[str, float]:
    return {"batch": p.batch, "active_params": p.model.active_params, "num_gpus": float(p.num_gpus)}
