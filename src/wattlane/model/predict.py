"""Predict power, latency and joules per token of steady serving, with intervals, from a profile.

Steady decoding of `batch` sequences, each of which came with `input_tokens` and ends after `output_tokens`; the mean
context is input + output / 2. The value of an estimate is the law at its best parameters, the one a simulation uses;
its interval is the middle 95 % of seeded draws of everything uncertain (parameters, an unseen architecture, loaded
idle watts, clock), widened to the value where the draws are skewed.

Energies are of the GPUs. `energy_j_per_output_token` includes prefill:

    energy_j_per_output_token = decode_j_per_token + prefill_j_per_token · input / output

with prefill as what a prompt adds to a running batch. `ttft_s` is the prefill of one request alone on the replica:
no queue, no other work, one chunk.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError, OutOfRangeError
from wattlane.core.types import Estimate
from wattlane.model import iteration as it
from wattlane.model.clock import SOURCE
from wattlane.model.laws.phase import Case
from wattlane.model.profile import Profile, draw, profile_for
from wattlane.model.steady import effective_context, steady

LEVEL = 0.95
# Refused past this multiple of the calibrated range; between the range and it, predicted and marked extrapolated.
REFUSAL_FACTOR = 4.0
GPU_MEMORY_UTILIZATION = 0.9

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
    """What one replica does in steady serving; `reasons` says why it is extrapolated, empty if not."""

    profile: str
    batch: float
    input_tokens: float
    output_tokens: float
    power_w: Estimate
    itl_s: Estimate
    ttft_s: Estimate
    tokens_per_s: Estimate
    energy_j_per_output_token: Estimate
    prefill_j_per_token: Estimate
    decode_j_per_token: Estimate
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

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
    input_tokens: float,
    output_tokens: float,
    profile: Profile | None = None,
    draws: int = 200,
    seed: int = 0,
) -> Prediction:
    """Return the prediction for `case`; the profile is the shipped one of its GPU unless given.

    Raises:
        InputError: counts below 1, more context than the model has, or a batch whose cache does not fit.
        OutOfRangeError: batch above, or active parameters or GPUs outside, the calibrated range by more than 4 times.
    """
    _check(case, batch, input_tokens, output_tokens, draws)
    known = profile or profile_for(case.gpu)
    reasons = tuple(known.outside(case, batch))
    _refuse_far(known, case, batch)
    asked = (batch, input_tokens, output_tokens)
    best = _quantities(known.law(case), case, *asked)
    rng = np.random.default_rng(seed)
    drawn = np.array([_quantities(draw(known, case, rng).law(case), case, *asked) for _ in range(draws)])
    tail = (1.0 - LEVEL) / 2.0
    lo, hi = np.quantile(drawn, [tail, 1.0 - tail], axis=0)
    estimates = {
        name: Estimate(
            float(best[i]), float(min(lo[i], best[i])), float(max(hi[i], best[i])), unit, bool(reasons), LEVEL
        )
        for i, (name, unit) in enumerate(UNITS.items())
    }
    return Prediction(known.name, batch, input_tokens, output_tokens, **estimates, reasons=reasons, notes=_notes(case))


def _notes(case: Case) -> tuple[str, ...]:
    if case.clock_ratio == 1.0:
        return ()
    return (f"the effect of {case.clock_hz:.4g} Hz is a prior, not measured: {SOURCE}",)


def _quantities(
    law: NDArray[np.float64], case: Case, batch: float, input_tokens: float, output_tokens: float
) -> NDArray[np.float64]:
    """Return the predicted quantities in the order of `UNITS`."""
    context = effective_context(case.model, input_tokens + output_tokens / 2)
    mean = steady(law, batch, input_tokens, output_tokens, context)
    ttft_s, _ = it.cost(law, input_tokens, input_tokens**2 / 2, 0.0, 0.0)
    prefilled = batch * input_tokens / output_tokens
    return np.array(
        [
            mean.power_w,
            mean.iteration_s,
            ttft_s,
            batch / mean.iteration_s,
            mean.iteration_j / batch,
            mean.prefill_j / prefilled,
            mean.decode_j / batch,
        ]
    )


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


def _check(case: Case, batch: float, input_tokens: float, output_tokens: float, draws: int) -> None:
    counts = {"batch": batch, "input_tokens": input_tokens, "output_tokens": output_tokens, "draws": draws}
    problems = [f"{name} is {value}; expected at least 1" for name, value in counts.items() if not value >= 1]
    longest = case.model.max_context_tokens
    if longest and input_tokens + output_tokens > longest:
        problems.append(
            f"{input_tokens + output_tokens:g} tokens of context; expected at most the {longest} of {case.model.name}"
        )
    if problems:
        raise InputError.gathered("predict", problems)
    capacity = case.kv_capacity_tokens(GPU_MEMORY_UTILIZATION)
    needed = batch * effective_context(case.model, input_tokens + output_tokens / 2)
    if needed > capacity:
        raise InputError(
            f"predict: a batch of {batch:g} keeps {needed:,.0f} tokens in the cache; found room for {capacity:,} on "
            f"{case.tensor_parallel} x {case.gpu.name}; ask for a smaller batch or use more GPUs"
        )


def _refuse_far(profile: Profile, case: Case, batch: float) -> None:
    limits = profile.family(case).range
    asked = {"batch": batch, "active_params": case.model.active_params, "num_gpus": float(case.tensor_parallel)}
    far = []
    for name, value in asked.items():
        if name not in limits:
            continue
        lowest, highest = limits[name]
        # a batch below the range is memory-bound like the smallest one measured: marked, not refused
        least = 0.0 if name == "batch" else lowest / REFUSAL_FACTOR
        if not least <= value <= highest * REFUSAL_FACTOR:
            far.append(f"{name} {value:.4g} against [{lowest:.4g}, {highest:.4g}]")
    if far:
        raise OutOfRangeError(
            f"refused: more than {REFUSAL_FACTOR:g} times outside what profile {profile.name} was fitted on: "
            f"{'; '.join(far)}; ask within that, or fit a profile on measurements of your own"
        )
