"""Precision, clock and parallelism by the law: effects on each phase, weighted by what the phase takes now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.core.types import Phase
from wattlane.model.laws.phase import Case
from wattlane.model.predict_rows import GPU_MEMORY_UTILIZATION
from wattlane.model.profile import Profile, draw
from wattlane.model.regime import Effect, PhaseRegime, regimes
from wattlane.model.steady import effective_context, steady
from wattlane.plan.advise.advice import Advice, Basis

DRAWS = 64
TAIL = 2.5
CLOCK_NOTE = " The clock's effect is a prior, never measured; locking it needs root."


def advise(profile: Profile, case: Case, batch: float, prompt: float, answer: float, prefill: float) -> list[Advice]:
    """Return advice on precision and clock per phase and on GPUs a replica; `prefill` is its share of the energy."""
    found = regimes(case, batch=max(1.0, batch), input_tokens=prompt, output_tokens=answer, profile=profile)
    by_phase = {p.phase: p for p in found.phases}
    shares = {Phase.PREFILL: prefill, Phase.DECODE: 1.0 - prefill}
    out = [*_merged(by_phase, shares, "precision"), *_merged(by_phase, shares, "clock")]
    return [*out, *_parallel(profile, case, max(1.0, batch), prompt, answer)]


def _merged(by_phase: dict[Phase, PhaseRegime], shares: dict[Phase, float], knob: str) -> Iterator[Advice]:
    """Yield one piece of advice a change: the sum of what it does to both phases, each said."""
    changes = {e.change for p in by_phase.values() for e in p.effects if e.knob == knob}
    for change in sorted(changes):
        parts = {
            phase: next(e for e in p.effects if e.knob == knob and e.change == change) for phase, p in by_phase.items()
        }

        def total(which: int, parts: dict[Phase, Effect] = parts) -> float:
            return 1.0 - sum(shares[phase] * effect.energy[which] for phase, effect in parts.items())

        why = "; ".join(f"{phase.value} {1 - e.energy[0]:+.0%}: {e.why}" for phase, e in parts.items())
        best, one, other = total(0), total(1), total(2)
        lo, hi = min(one, other, best), max(one, other, best)
        note = CLOCK_NOTE if knob == "clock" else ""
        source = f"the law of {'a clock prior' if knob == 'clock' else 'both phases'}, middle 95 % of paired draws"
        yield Advice(knob, change, best, lo, hi, Basis.MODELLED, source, why + "." + note)


def _parallel(profile: Profile, case: Case, batch: float, prompt: float, answer: float) -> Iterator[Advice]:
    """Yield the effect of half and of twice the GPUs a replica, at the same sequences a replica."""
    for factor in (0.5, 2.0):
        width = int(case.tensor_parallel * factor)
        if width < 1:
            continue
        other = replace(case, tensor_parallel=width)
        try:
            fits = batch * (prompt + answer / 2) <= other.kv_capacity_tokens(GPU_MEMORY_UTILIZATION)
        except InputError:
            continue  # the model does not fit so few GPUs
        if fits:
            yield _parallel_advice(profile, case, other, batch, prompt, answer)


def _parallel_advice(profile: Profile, case: Case, other: Case, batch: float, prompt: float, answer: float) -> Advice:
    context = effective_context(case.model, prompt + answer / 2)

    def ratio(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
        now, then = (steady(law, batch, prompt, answer, context) for law in (before, after))
        return then.iteration_j / now.iteration_j

    best = 1.0 - ratio(profile.law(case), profile.law(other))
    drawn = [draw(profile, case, np.random.default_rng([11, n])) for n in range(DRAWS)]
    lo, hi = np.percentile([1.0 - ratio(d.law(case), d.law(other)) for d in drawn], [TAIL, 100 - TAIL])
    wider = other.tensor_parallel > case.tensor_parallel
    return Advice(
        "tensor parallelism",
        f"{case.tensor_parallel} to {other.tensor_parallel}",
        best,
        min(float(lo), best),
        max(float(hi), best),
        Basis.MODELLED,
        "the law at the same sequences a replica, middle 95 % of paired draws",
        "More GPUs are for latency or memory: each draws its static watts, and all-reduces come on top."
        if wider
        else "Fewer GPUs a replica, as long as TTFT and token gaps allow it.",
    )
