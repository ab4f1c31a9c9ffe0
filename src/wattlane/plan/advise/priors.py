"""Printed effects as advice where the workload's batch is like the one they were seen at."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from wattlane.plan.advise.advice import Advice, Basis


@dataclass(frozen=True, slots=True)
class Prior:
    """One printed effect with the batch it was seen at."""

    knob: str
    change: str
    batch_lo: float
    batch_hi: float
    saving_lo: float
    saving_hi: float
    source: str
    date: str
    why: str


@cache
def priors() -> dict[str, Prior]:
    """Return the printed effects by name."""
    text = (resources.files("wattlane.plan.advise") / "priors.toml").read_text(encoding="utf-8")
    return {name: Prior(**body) for name, body in tomllib.loads(text).items()}


def speculative(batch: float) -> Advice:
    """Return advice on speculative decoding at a mean batch.

    Between the batches printed anything from the one effect to the other is possible.
    """
    small, large = priors()["speculative-small"], priors()["speculative-large"]
    if batch <= small.batch_hi:
        return _as_advice(small, small.saving_lo, small.saving_hi, positive=True)
    if batch >= large.batch_lo:
        return _as_advice(large, large.saving_lo, large.saving_hi)
    source = f"{small.source}; {large.source}"
    why = f"{batch:.0f} sequences run together: between the batches at which it was seen to save and to cost."
    middle = (large.saving_lo + small.saving_hi) / 2
    return Advice(small.knob, small.change, middle, large.saving_lo, small.saving_hi, Basis.PRINTED, source, why)


def _as_advice(prior: Prior, lo: float, hi: float, positive: bool = False) -> Advice:
    # the sign is what was printed; its least size is not
    low = max(lo, 1e-3) if positive else lo
    return Advice(prior.knob, prior.change, (low + hi) / 2, low, hi, Basis.PRINTED, prior.source, prior.why)


def wider(tensor_parallel: int) -> Advice | None:
    """Return the printed effect of going from one GPU to two; None where the deployment has more already."""
    if tensor_parallel != 1:
        return None
    prior = priors()["tensor-parallel-2"]
    return _as_advice(prior, prior.saving_lo, prior.saving_hi)
