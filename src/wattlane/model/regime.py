"""Regimes by the law: what each phase waits for, and which precision, batch and clock pay in it.

A law knows what a measured time hides, so the bound of a phase is the largest share of its time, which needs no
threshold; floors and growth beside it are those of `wattlane.core.regime`, at the prompt asked and at a quarter of it:

    share of a resource = −d log t / d log(its rate)        arithmetic, memory, links; the rest is launches and host
    power limit         = 1 − t without the limit / t       the shares above are then of the time without it

so that a resource's share is how much of the time would go if it were infinitely fast and nothing else became slower.

A knob's effect is the ratio of the law after to the law before, at the best parameters, with the middle 95 % of paired
draws: what is uncertain about both cancels. A knob pays where the whole interval of its J/token lies below 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.core.facts.gpus import PRECISION_BYTES, Gpu
from wattlane.core.facts.models import Model
from wattlane.core.regime import Bound, Regime, Sample, classify
from wattlane.core.types import Phase
from wattlane.model import iteration as it
from wattlane.model.laws.phase import Case
from wattlane.model.predict_rows import GPU_MEMORY_UTILIZATION
from wattlane.model.profile import Profile, draw, profile_for
from wattlane.model.steady import effective_context

RESOURCES = ("arithmetic", "memory", "links", "launches", "power limit")
NO_LIMIT_W = 1e12
NUDGE = 1e-4
DRAWS = 64
BATCHES = tuple(2**i for i in range(11))
PROMPTS = tuple(2**i for i in range(4, 15))
CLOCKS = (0.8, 0.6)  # of the highest
KINDS = {Bound.COMPUTE: "arithmetic", Bound.BANDWIDTH: "memory", Bound.LAUNCH: "launches"}


@dataclass(frozen=True, slots=True)
class Work:
    """One iteration: `prompts` prompts of `prompt_tokens`, or `sequences` decoding with `context_tokens` each."""

    prompts: float = 0.0
    prompt_tokens: float = 0.0
    sequences: float = 0.0
    context_tokens: float = 0.0

    @property
    def tokens(self) -> float:
        """Tokens the iteration computes."""
        return self.prompts * self.prompt_tokens + self.sequences

    def cost(self, law: NDArray[np.float64], model: Model) -> tuple[float, float]:
        """Return (seconds, joules) under a law."""
        context = effective_context(model, self.context_tokens)
        pairs = self.prompts * self.prompt_tokens**2 / 2.0
        return it.cost(law, self.prompts * self.prompt_tokens, pairs, self.sequences, self.sequences * context)


@dataclass(frozen=True, slots=True)
class Effect:
    """What a change of one knob does to a phase: ratios after ÷ before, each (best, lo, hi) at 95 %."""

    knob: str
    change: str
    time: tuple[float, float, float]
    energy: tuple[float, float, float]
    why: str

    @property
    def verdict(self) -> str:
        """Pays, costs, or neither shown, by the interval of J/token."""
        _, lo, hi = self.energy
        return "pays" if hi < 1.0 else "costs" if lo > 1.0 else "no difference shown"


@dataclass(frozen=True, slots=True)
class PhaseRegime:
    """What one phase waits for: its bound, floors, shares of time by `RESOURCES`, and what knobs do."""

    phase: Phase
    regime: Regime
    shares: dict[str, float]
    seconds: float
    energy_j_per_token: float
    effects: tuple[Effect, ...]


@dataclass(frozen=True, slots=True)
class Regimes:
    """Both phases of a deployment, and the shares along batch (decode) and prompt (prefill)."""

    model: str
    gpu: str
    precision: str
    profile: str
    batch: float
    input_tokens: float
    output_tokens: float
    phases: tuple[PhaseRegime, ...]
    curves: dict[str, list[dict[str, Any]]]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for `regimes.json`."""
        body = asdict(self)
        for given, written in zip(self.phases, body["phases"], strict=True):
            written["effects"] = [{**asdict(effect), "verdict": effect.verdict} for effect in given.effects]
            written["words"] = str(given.regime)
        return body


def regimes(
    case: Case, *, batch: float, input_tokens: float, output_tokens: float, profile: Profile | None = None
) -> Regimes:
    """Return what prefill and decode of `case` wait for; the profile is the shipped one of its GPU unless given.

    Raises:
        InputError: counts below 1; all are named.
    """
    asked = {"batch": batch, "input_tokens": input_tokens, "output_tokens": output_tokens}
    problems = [f"{name} is {value:g}; expected at least 1" for name, value in asked.items() if not value >= 1]
    if problems:
        raise InputError.gathered("regimes", problems)
    known = profile or profile_for(case.gpu)

    def prefill(prompt: float) -> Work:
        return Work(prompts=1.0, prompt_tokens=prompt)

    def decode(prompt: float, sequences: float = batch) -> Work:
        return Work(sequences=sequences, context_tokens=prompt + output_tokens / 2.0)

    found = tuple(
        PhaseRegime(
            phase,
            bound_by_law(known, case, [work(input_tokens), work(max(input_tokens / 4.0, 1.0))]),
            shares(known, case, work(input_tokens)),
            *_per_token(known, case, work(input_tokens)),
            tuple(effects(known, case, work(input_tokens))),
        )
        for phase, work in ((Phase.PREFILL, prefill), (Phase.DECODE, decode))
    )
    curves = {
        "prefill": [{"prompt_tokens": n, **shares(known, case, prefill(n))} for n in PROMPTS],
        "decode": [{"batch": b, **shares(known, case, decode(input_tokens, b))} for b in BATCHES],
    }
    return Regimes(
        case.model.name, case.gpu.name, case.precision, known.name, batch, input_tokens, output_tokens, found, curves
    )


def _per_token(profile: Profile, case: Case, work: Work) -> tuple[float, float]:
    seconds, joules = work.cost(profile.law(case), case.model)
    return seconds, joules / work.tokens


def shares(profile: Profile, case: Case, work: Work) -> dict[str, float]:
    """Return the share of the time of `work` that follows each of `RESOURCES`; they sum to 1."""
    limited, _ = work.cost(profile.law(case), case.model)

    def free_s(asked: Case) -> float:
        law = profile.law(asked)
        law[it.LIMIT_W] = NO_LIMIT_W
        return work.cost(law, case.model)[0]

    t = free_s(case)

    def share(faster: Callable[[Gpu], Gpu]) -> float:
        moved = free_s(replace(case, gpu=faster(case.gpu)))
        return max(0.0, float(-np.log(moved / t) / np.log1p(NUDGE))) * t / limited

    up = 1.0 + NUDGE
    found = {
        "arithmetic": share(lambda g: replace(g, flop_per_s={k: v * up for k, v in g.flop_per_s.items()})),
        "memory": share(lambda g: replace(g, bandwidth_bytes_per_s=g.bandwidth_bytes_per_s * up)),
        "links": share(lambda g: replace(g, link_bytes_per_s=g.link_bytes_per_s * up)),
    }
    held = max(1.0 - t / limited, 0.0)
    return {**found, "launches": max(1.0 - held - sum(found.values()), 0.0), "power limit": held}


def floors(case: Case, work: Work) -> tuple[float, float]:
    """Return (FLOP, bytes) that `work` cannot do without, over all GPUs of the replica."""
    model, width = case.model, PRECISION_BYTES[case.precision]
    head = float(model.vocab * model.hidden)
    prompt_tokens = work.prompts * work.prompt_tokens
    flop = 2.0 * (model.active_params - head) * work.tokens + 2.0 * head * (work.prompts + work.sequences)
    pairs = work.prompts * work.prompt_tokens**2 / 2.0 + work.sequences * effective_context(model, work.context_tokens)
    flop += model.attention_flop_per_token_context * pairs
    touched = 0.0
    if model.is_moe:
        miss = 1.0 - model.experts_per_token / model.experts
        touched = model.moe_layers * model.experts * model.expert_params * (1.0 - miss**work.tokens)
    # quantised checkpoints keep the head in 16 bit
    moved = (model.dense_params - head + touched) * width + head * max(width, 2.0)
    moved += case.kv_bytes_per_token * (prompt_tokens + work.sequences * effective_context(model, work.context_tokens))
    return flop, moved


def bound_by_law(profile: Profile, case: Case, works: Sequence[Work]) -> Regime:
    """Return what bounds a phase whose times are the law's, at the first of `works`; others tell how it grows."""
    gpus, samples = case.tensor_parallel, []
    law = profile.law(case)
    for work in works:
        flop, moved = floors(case, work)
        tokens = max(int(work.prompt_tokens or work.context_tokens), 1)
        samples.append(Sample(tokens, work.cost(law, case.model)[0], flop, moved))
    found = classify(samples, gpus * case.gpu.peak_flop_per_s(case.precision), gpus * case.gpu.bandwidth_bytes_per_s)
    part = shares(profile, case, works[0])
    return replace(found, bound=max(KINDS, key=lambda bound: part[KINDS[bound]]))


def _ratios(profile: Profile, case: Case, work: Work, other: Case, moved: Work) -> tuple[Any, Any]:
    """Return (time, J/token) after ÷ before, each (best, lo, hi); time is of an iteration."""

    def pair(before: NDArray[np.float64], after: NDArray[np.float64]) -> tuple[float, float]:
        (t0, e0), (t1, e1) = work.cost(before, case.model), moved.cost(after, other.model)
        return t1 / t0, (e1 / moved.tokens) / (e0 / work.tokens)

    best = pair(profile.law(case), profile.law(other))
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        one = draw(profile, case, rng)
        drawn.append(pair(one.law(case), one.law(other)))
    lo, hi = np.quantile(drawn, [0.025, 0.975], axis=0)
    return tuple((float(best[i]), float(min(lo[i], best[i])), float(max(hi[i], best[i]))) for i in (0, 1))  # type: ignore[return-value]


def effects(profile: Profile, case: Case, work: Work) -> list[Effect]:
    """Return what other precisions, a larger batch and lower clocks do to a phase, and why."""
    part = shares(profile, case, work)
    found = []
    for precision in _precisions(case):
        other = replace(case, precision=precision)
        found.append(
            _effect(profile, case, work, other, work, "precision", precision, _why_precision(part, case, other))
        )
    larger = replace(work, prompts=4.0 * work.prompts, sequences=4.0 * work.sequences)
    if _fits(case, larger):
        found.append(_effect(profile, case, work, case, larger, "batch", "x 4", _why_batch(part)))
    for ratio in CLOCKS:
        hz = ratio * case.gpu.clock_max_hz
        if hz < (case.clock_hz or case.gpu.clock_max_hz) and hz >= case.gpu.clock_min_hz:
            other = replace(case, clock_hz=hz)
            why = f"{part['arithmetic']:.0%} of the time follows the clock; its effect on watts is a prior"
            found.append(_effect(profile, case, work, other, work, "clock", f"{hz / 1e6:.0f} MHz", why))
    return found


def _effect(
    profile: Profile, case: Case, work: Work, other: Case, moved: Work, knob: str, change: str, why: str
) -> Effect:
    time, energy = _ratios(profile, case, work, other, moved)
    return Effect(knob, change, time, energy, why)


def _precisions(case: Case) -> list[str]:
    """Return the precisions the GPU computes in natively, of other width than the one asked."""
    width = PRECISION_BYTES[case.precision]
    return [name for name in ("bf16", "fp8") if name in case.gpu.flop_per_s and PRECISION_BYTES[name] != width]


def _fits(case: Case, work: Work) -> bool:
    try:
        capacity = case.kv_capacity_tokens(GPU_MEMORY_UTILIZATION)
    except InputError:
        return False
    return work.sequences * effective_context(case.model, work.context_tokens) <= capacity


def _why_precision(part: dict[str, float], case: Case, other: Case) -> str:
    factor = PRECISION_BYTES[other.precision] / PRECISION_BYTES[case.precision]
    if part["launches"] >= max(part["memory"], part["arithmetic"]):
        return f"{part['launches']:.0%} of the time is launches and host, whatever the width of the weights"
    largest = "memory" if part["memory"] >= part["arithmetic"] else "arithmetic"
    if largest == "memory":
        return f"{part['memory']:.0%} of the time streams bytes; weights take {factor:g} times as many"
    rates = [c.gpu.peak_flop_per_s(c.precision) for c in (case, other)]
    return f"{part['arithmetic']:.0%} of the time is arithmetic; its peak is {rates[1] / rates[0]:g} times as high"


def _why_batch(part: dict[str, float]) -> str:
    if part["arithmetic"] >= 0.5:
        return f"{part['arithmetic']:.0%} of the time is arithmetic, which every token needs for itself"
    return f"{1.0 - part['arithmetic']:.0%} of the time is not arithmetic; weights and launches are shared by the batch"
