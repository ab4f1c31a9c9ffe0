"""Predict power, latency and joules per token of steady serving, with intervals, from a profile.

Steady decoding of `batch` sequences, each of which came with `input_tokens` and ends after `output_tokens`; the mean
context is input + output / 2. The value of an estimate is the law at its best parameters, the one a simulation uses;
its interval is of everything uncertain (parameters, an unseen architecture, loaded idle watts, clock) at 95 %, by the
delta method of `wattlane.model.predict_core`, or on request the middle 95 % of seeded draws, widened to the value where
the draws are skewed. Many cases at once: `wattlane.model.predict_table`.

Energies are of the GPUs. `energy_j_per_output_token` includes prefill:

    energy_j_per_output_token = decode_j_per_token + prefill_j_per_token · input / output

with prefill as what a prompt adds to a running batch. `itl_s` is the mean gap between tokens, batch ÷ tokens
per second. `ttft_s` is the prefill of one request alone on a replica: no queue, no other work, one chunk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError, OutOfRangeError
from wattlane.core.types import Boundary, Estimate
from wattlane.model.laws.phase import Case
from wattlane.model.node import SCOPES
from wattlane.model.node import SOURCE as NODE_SOURCE
from wattlane.model.predict_bundle import work
from wattlane.model.predict_rows import (
    REFUSAL_FACTOR,
    Answer,
    Asked,
    Deployed,
    answer,
    at_the_wall,
    conformal,
    notes_of,
    reasons_of,
)
from wattlane.model.profile import CONFORMAL_LEVEL, Profile, draw, profile_for
from wattlane.model.steady import effective_context

LEVEL = 0.95

# Predicted quantities in order, with the unit a person reads.
UNITS = {
    "power_w": "W",
    "itl_s": "s",
    "ttft_s": "s",
    "tokens_per_s": "tokens/s",
    "energy_j_per_output_token": "J/token",
    "prefill_j_per_token": "J/token",
    "decode_j_per_token": "J/token",
}


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a deployment does in steady serving; `reasons` says why it is extrapolated, empty if not.

    `conformal` holds split-conformal intervals at 90 % by name, empty where the profile has none for the question.
    `wall_*` are of the deployment's share of full servers, `wall_alone_w` of the servers it needs with their other GPUs
    idle; None unless asked. `input_tokens` is None where the prompt was marginalised over a prior; `clock_hz` is the
    clock it runs at.
    """

    profile: str
    batch: float
    input_tokens: float | None
    output_tokens: float
    power_w: Estimate
    itl_s: Estimate
    ttft_s: Estimate
    tokens_per_s: Estimate
    energy_j_per_output_token: Estimate
    prefill_j_per_token: Estimate
    decode_j_per_token: Estimate
    clock_hz: float
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    conformal: Mapping[str, Estimate] = field(default_factory=dict)
    wall_power_w: Estimate | None = None
    wall_energy_j_per_output_token: Estimate | None = None
    wall_alone_w: float | None = None

    @property
    def extrapolated(self) -> bool:
        """Whether the question lies outside the calibrated range."""
        return bool(self.reasons)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return {
            **asdict(self),
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            "extrapolated": self.extrapolated,
        }


def predict(
    case: Case,
    *,
    batch: float,
    input_tokens: float | None,
    output_tokens: float,
    profile: Profile | None = None,
    data_parallel: int = 1,
    power_cap_w: float | None = None,
    scope: str = "gpu",
    draws: int = 0,
    seed: int = 0,
) -> Prediction:
    """Return the prediction for `data_parallel` replicas of `case`.

    Args:
        case: one replica.
        batch: sequences that run together, over all replicas.
        input_tokens: mean prompt; None marginalises over the prior of `wattlane.model.predict_core`.
        output_tokens: mean answer.
        profile: asked instead of the shipped one of the GPU.
        data_parallel: replicas.
        power_cap_w: per GPU; the highest clock that keeps it is taken, at most the clock of `case`.
        scope: "wall" adds watts and joules of whole servers, by `wattlane.model.node`.
        draws: 0 takes the delta method; else the interval is of so many seeded draws.
        seed: of the draws.

    Raises:
        InputError: counts below 1, more context than the model has, a batch whose cache does not fit, or a cap below
            what the lowest clock draws; all problems are named.
        OutOfRangeError: batch above, or active parameters or GPUs outside, the calibrated range by more than 4 times.
    """
    known = profile or profile_for(case.gpu)
    deployed = Deployed(case, known, data_parallel, capped=power_cap_w is not None)
    prompt, cap = (np.nan if value is None else float(value) for value in (input_tokens, power_cap_w))
    asked = Asked(np.zeros(1, dtype=np.int64), *(np.array([float(v)]) for v in (batch, prompt, output_tokens, cap)))
    problems = _problems(draws, scope, data_parallel > 1 or power_cap_w is not None or input_tokens is None)
    found = answer([deployed], asked)
    _refuse(found, known, problems)
    interval = found.rows.lo[:, 0], found.rows.hi[:, 0]
    if draws > 0:
        interval = drawn_interval(known, case, batch, prompt, output_tokens, draws=draws, seed=seed)
    reasons = reasons_of(deployed, bool(found.outside[0]), batch / data_parallel)
    notes = notes_of(deployed, input_tokens is None)
    estimates: dict[str, Any] = {
        name: Estimate(float(mean), float(min(lo, mean)), float(max(hi, mean)), unit, bool(reasons), LEVEL)
        for (name, unit), mean, lo, hi in zip(UNITS.items(), found.rows.mean[:, 0], *interval, strict=True)
    }
    clock_hz = float(found.rows.clock_hz[0])
    estimates["conformal"] = {} if input_tokens is None else _conformal(deployed, found, bool(reasons))
    one = Prediction(
        known.name, batch, input_tokens, output_tokens, **estimates, clock_hz=clock_hz, reasons=reasons, notes=notes
    )
    return one if scope != Boundary.WALL else _with_wall(one, deployed, found)


def _problems(draws: int, scope: str, special: bool) -> list[str]:
    found = [] if draws >= 0 else [f"draws is {draws}; expected at least 1, or 0 for none"]
    found += [] if scope in SCOPES else [f"scope is {scope!r}; expected one of {', '.join(SCOPES)}"]
    if draws > 0 and special:
        found.append("draws are for one replica with a given prompt and no cap; ask without draws")
    return found


def _conformal(deployed: Deployed, found: Answer, extrapolated: bool) -> dict[str, Estimate]:
    sure = conformal([deployed], np.zeros(1, dtype=np.int64), found.rows)
    out = {}
    for q, (name, unit) in enumerate(UNITS.items()):
        lo, hi = (float(sure[f"{name}_{end}90"][0]) if f"{name}_{end}90" in sure else np.nan for end in ("lo", "hi"))
        if lo <= hi:
            out[name] = Estimate(float(found.rows.mean[q, 0]), lo, hi, unit, extrapolated, CONFORMAL_LEVEL)
    return out


def _with_wall(one: Prediction, deployed: Deployed, found: Answer) -> Prediction:
    columns = at_the_wall([deployed], np.zeros(1, dtype=np.int64), found.rows)
    estimates: dict[str, Any] = {}
    for name, unit in (("wall_power_w", "W"), ("wall_energy_j_per_output_token", "J/token")):
        mean, lo, hi = (float(columns[f"{name}{end}"][0]) for end in ("", "_lo", "_hi"))
        estimates[name] = Estimate(mean, lo, hi, unit, one.extrapolated, LEVEL)
    alone = float(columns["wall_alone_w"][0])
    return replace(one, **estimates, wall_alone_w=alone, notes=(*one.notes, NODE_SOURCE))


def _refuse(found: Answer, profile: Profile, problems: list[str]) -> None:
    bad = [*found.bad.get(0, ()), *problems]
    if bad:
        raise InputError.gathered("predict", bad)
    if found.far:
        raise OutOfRangeError(
            f"refused: more than {REFUSAL_FACTOR:g} times outside what profile {profile.name} was fitted on: "
            f"{'; '.join(found.far[0])}; ask within that, or fit a profile on measurements of your own"
        )


def drawn_interval(
    profile: Profile,
    case: Case,
    batch: float,
    input_tokens: float,
    output_tokens: float,
    *,
    draws: int,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the middle 95 % of each quantity over seeded draws of the law, in the order of `UNITS`."""
    rng = np.random.default_rng(seed)
    asked = (batch, input_tokens, output_tokens)
    drawn = np.array([_quantities(draw(profile, case, rng).law(case), case, *asked) for _ in range(draws)])
    power, itl, energy = rng.standard_normal((draws, 3)).T * np.array(profile.family(case).within)[:, None]
    drawn *= np.exp(np.column_stack([power, itl, itl, -itl, energy, energy, energy]))
    tail = (1.0 - LEVEL) / 2.0
    lo, hi = np.quantile(drawn, [tail, 1.0 - tail], axis=0)
    return lo, hi


def _quantities(
    law: NDArray[np.float64], case: Case, batch: float, input_tokens: float, output_tokens: float
) -> NDArray[np.float64]:
    """Return the predicted quantities in the order of `UNITS`."""
    context = effective_context(case.model, input_tokens + output_tokens / 2)
    t, e, decode_j, prefill_j, ttft_s = work(law, case.pipeline_parallel, batch, input_tokens, output_tokens, context)
    prefilled = batch * input_tokens / output_tokens
    return np.array([e / t, t, ttft_s, batch / t, e / batch, prefill_j / prefilled, decode_j / batch])


@dataclass(frozen=True, slots=True)
class PhaseRequests:
    """The phase law asked per request, as a law of whole requests: served in a steady batch of its like."""

    profile: Profile
    case: Case
    batch: float = 1.0

    def request_cost(self, input_tokens: float, output_tokens: float) -> tuple[float, float]:
        """Return (runtime in s, energy in J) of one request."""
        found = dict(
            zip(
                UNITS,
                _quantities(self.profile.law(self.case), self.case, self.batch, input_tokens, output_tokens),
                strict=True,
            )
        )
        return output_tokens * float(found["itl_s"]), output_tokens * float(found["energy_j_per_output_token"])
