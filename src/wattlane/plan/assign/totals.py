"""What a plan adds up to: joules, mean seconds of a request, token-weighted mean accuracy, dollars, grams.

Totals depend on the sums of a law's terms alone: of a bilinear one Σ in, Σ out and Σ in·out over a target's requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wattlane.model.request_law import Side
from wattlane.plan.assign.equations.money import J_PER_KWH, S_PER_HOUR
from wattlane.plan.assign.problem import Counts, Floats
from wattlane.plan.assign.targets import Target
from wattlane.plan.assign.values import Case


@dataclass(frozen=True, slots=True)
class Totals:
    """Of all requests of a plan; energy is modelled by the laws, at their boundary. None where a price is unknown."""

    requests: int
    energy_j: float
    mean_runtime_s: float
    accuracy: float | None
    gpu_hours: float
    usd: float | None
    gco2e: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return {name: getattr(self, name) for name in self.__slots__}


def totals(case: Case, x: Counts) -> Totals:
    """Return the totals of an assignment x (K, m)."""
    if case.negative == "clamp":
        energy, runtime = ((case.predicted(name) * x).sum(axis=1) for name in ("energy_j", "runtime_s"))
    else:
        energy, runtime = (_by_target(case, x, name) for name in ("energy_j", "runtime_s"))
    tokens = (x @ case.kinds.tokens).astype(float)
    counts = x.sum(axis=1)
    hours = runtime * np.array([target.gpus for target in case.targets]) / S_PER_HOUR
    used = counts > 0
    accuracy = float(case.scores()[used] @ tokens[used] / tokens.sum())
    return Totals(
        int(counts.sum()),
        float(energy.sum()),
        float(runtime.sum() / counts.sum()),
        None if np.isnan(accuracy) else accuracy,
        float(hours.sum()),
        _usd(case.targets, energy, hours),
        _priced(energy / J_PER_KWH, [target.gco2e_per_kwh for target in case.targets]),
    )


def _by_target(case: Case, x: Counts, quantity: str) -> Floats:
    out = np.zeros(len(case.targets))
    for k, target in enumerate(case.targets):
        side: Side = getattr(target.law, quantity)
        beta = np.array([side.intercept or 0.0, *side.coefficients])
        out[k] = beta @ case.kinds.sums(x[k], side.terms)
    return out


def _usd(targets: tuple[Target, ...], energy: Floats, hours: Floats) -> float | None:
    if any(t.usd_per_kwh is None and t.usd_per_gpu_hour is None for t in targets):
        return None
    power = sum(e / J_PER_KWH * (t.usd_per_kwh or 0.0) for e, t in zip(energy, targets, strict=True))
    rent = sum(h * (t.usd_per_gpu_hour or 0.0) for h, t in zip(hours, targets, strict=True))
    return float(power + rent)


def _priced(amounts: Floats, prices: list[float | None]) -> float | None:
    if any(price is None for price in prices):
        return None
    return float(amounts @ np.array(prices, dtype=float))
