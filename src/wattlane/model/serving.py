"""Laws of serving power: watts of a replica that decodes a steady batch. What they are asked, and how they are scored.

These are the published rivals of the phase law: each gives `power_w` of a replica from its GPU, model and batch. Some
need the seconds of an iteration; where a row has them measured they are used, which favours the rival, and elsewhere
those of the spec-sheet roofline stand in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.core.facts.gpus import PRECISION_BYTES
from wattlane.core.types import Estimate
from wattlane.model.calibration import Point
from wattlane.model.law import Traits
from wattlane.model.laws.phase import Case
from wattlane.model.spread import Spread, spread_of
from wattlane.model.steady import effective_context

# Mean prompt of the tables' tasks, which do not record it; the same latent centre as in wattlane.model.fit_phase.
PROMPT_TOKENS = 250.0
KV_BYTES = 2.0


@dataclass(frozen=True, slots=True)
class Load:
    """Steady decoding: `batch` sequences of `context_tokens` each; seconds of an iteration where measured."""

    batch: float
    context_tokens: float = 1000.0
    iteration_s: float | None = None

    def __post_init__(self) -> None:
        if not (self.batch > 0 and self.context_tokens > 0):
            raise InputError(f"found batch {self.batch} and context {self.context_tokens}; expected both above 0")


def iteration_work(case: Case, load: Load) -> tuple[float, float]:
    """Return (FLOPs, bytes of HBM traffic) of one decode iteration of the whole replica, from geometry alone.

    A mixture of experts streams the experts its tokens hit: experts·(1 − (1 − k/E)^batch).
    """
    model, width = case.model, PRECISION_BYTES[case.precision]
    head = model.vocab * model.hidden
    context = effective_context(model, load.context_tokens)
    flop = load.batch * (2.0 * model.active_params + model.attention_flop_per_token_context * context)
    weights = (model.dense_params - head) * width + head * 2.0
    if model.is_moe:
        hit = 1.0 - (1.0 - model.experts_per_token / model.experts) ** load.batch
        weights += model.moe_layers * model.experts * model.expert_params * width * hit
    return flop, weights + load.batch * context * model.kv_elements_per_token * KV_BYTES


def roofline_s(case: Case, load: Load) -> float:
    """Return the seconds of an iteration at full spec-sheet bandwidth or FLOP rate, whichever takes longer."""
    flop, moved = iteration_work(case, load)
    rate = case.tensor_parallel * case.gpu.peak_flop_per_s(case.precision)
    return max(flop / rate, moved / (case.tensor_parallel * case.gpu.bandwidth_bytes_per_s))


# Power never falls with the batch, and twice the batch never draws more than twice the power.
POWER = Traits(axes=("batch",), answers=("power_w",), rising=("batch",), growth=(1.0, 2.0))


class PowerLaw(Protocol):
    """A law of serving power; `spread` is its error on groups it was not fitted on."""

    traits: ClassVar[Traits]

    @property
    def spread(self) -> Spread:
        """Error on left-out groups."""
        ...

    def power_w(self, case: Case, load: Load) -> float:
        """Return the watts of all GPUs of the replica."""
        ...


@dataclass(frozen=True, slots=True)
class AtCase:
    """A law of serving power asked for one case, as a law of the batch."""

    law: PowerLaw
    case: Case
    context_tokens: float = 1000.0

    @property
    def traits(self) -> Traits:
        """Those of the law."""
        return self.law.traits

    def answer(self, *asked: float) -> tuple[float, ...]:
        """Return (watts,) at a batch."""
        return (self.law.power_w(self.case, Load(asked[0], self.context_tokens)),)

    def predict(self, *asked: float, level: float = 0.95) -> Mapping[str, Estimate]:
        """Return `power_w` with its conformal interval."""
        return {"power_w": self.law.spread.around(self.answer(*asked)[0], "W", level)}


def asked_at(point: Point) -> tuple[Case, Load]:
    """Return the case and the load of a measured point, with its measured seconds an iteration."""
    case = Case(point.gpu, point.model, point.precision, point.num_gpus)
    return case, Load(point.batch, PROMPT_TOKENS + 0.5 * point.output_tokens, point.itl_s)


def power_errors(law: PowerLaw, points: Sequence[Point]) -> NDArray[np.float64]:
    """Return log(predicted / measured) of power for each point, shape (points,)."""
    return np.array([np.log(law.power_w(*asked_at(p)) / p.power_w) for p in points])


def leave_one_group_out(fit: Callable[[Sequence[Point]], PowerLaw], points: Sequence[Point]) -> NDArray[np.float64]:
    """Return log(predicted / measured) of each point by a law fitted without its group, shape (points,).

    Raises:
        InputError: fewer than two groups.
    """
    groups = sorted({p.group for p in points})
    if len(groups) < 2:
        raise InputError(f"found {len(groups)} groups; expected at least 2 to leave one out")
    out = np.empty(len(points))
    for name in groups:
        held = [i for i, p in enumerate(points) if p.group == name]
        law = fit([p for p in points if p.group != name])
        out[held] = power_errors(law, [points[i] for i in held])
    return out


def left_out_spread(fit: Callable[[Sequence[Point]], PowerLaw], points: Sequence[Point]) -> Spread:
    """Return the spread of a law on left-out groups; unbounded where there is only one group."""
    if len({p.group for p in points}) < 2:
        return Spread()
    return spread_of(leave_one_group_out(fit, points).tolist(), [p.group for p in points])
