"""A point of a sweep: a deployment with its law, what a quiet GPU draws, and what a joule costs when."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.core.types import Deployment
from wattlane.model import iteration as it

Floats = NDArray[np.float64]
# Coefficients that move joules and no iteration's duration, as long as the power limit does not bind.
POWER = (
    it.STATIC_W,
    it.HOST_LESS_W,
    it.LAYER_LESS_W,
    it.BYTE_J,
    it.FLOP_J,
    it.EXPERT_J,
    it.EXPERT_TOKEN_J,
    it.SEQ_J,
)
NOT_TIME = (*POWER, it.LIMIT_W, it.IDLE_W)


@dataclass(frozen=True, eq=False)
class Step:
    """A step function of time: `per_j[i]` (US dollars, or grams of CO2e, per joule) from `t_s[i]` on, shape (k,)."""

    t_s: Floats
    per_j: Floats

    def __post_init__(self) -> None:
        if len(self.t_s) != len(self.per_j) or len(self.t_s) == 0 or (np.diff(self.t_s) <= 0).any():
            raise InputError(
                f"series of {len(self.t_s)} times and {len(self.per_j)} values; expected pairs, times ascending"
            )


@dataclass(frozen=True, eq=False)
class Point:
    """One point. `law` is (N,), of a replica at its clock, with the power limit that holds in it.

    Quiet for `park_after_s`, a replica draws `park_w` instead of the idle power of the law, without a wake-up time.
    """

    name: str
    deployment: Deployment
    law: Floats
    kv_capacity_tokens: int
    kv_block_tokens: int = 16
    park_after_s: float = np.inf
    park_w: float = 0.0
    price: Step | None = None
    carbon: Step | None = None

    def __post_init__(self) -> None:
        if self.law.shape != (it.N,):
            raise InputError(f"{self.name}: law of shape {self.law.shape}; expected ({it.N},)")
        if not (self.park_after_s >= 0 and self.park_w >= 0):
            raise InputError(
                f"{self.name}: parked after {self.park_after_s} s at {self.park_w} W; expected numbers of at least 0"
            )

    @property
    def timing(self) -> tuple[object, ...]:
        """What decides the duration of every iteration while the power limit does not bind."""
        law = self.law.copy()
        law[list(NOT_TIME)] = 0.0
        return (
            replace(self.deployment, power_cap_w=None),
            self.kv_capacity_tokens,
            self.kv_block_tokens,
            law.tobytes(),
        )

    @property
    def serving(self) -> tuple[object, ...]:
        """What decides every iteration and its joules, whether the power limit binds or not."""
        law = self.law.copy()
        law[it.IDLE_W] = 0.0
        return (*self.timing, law.tobytes())
