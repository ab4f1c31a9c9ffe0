"""Where the controllers compete: a fixed number of equal replicas of one model on one GPU, and what each may turn.

Every controller gets the same boards, law, KV capacity and clock grid. A replica that is parked draws the board's idle
watts without a context; waking it takes `WAKE_S` at the loaded idle watts, as in `wattlane plan configure`. A change of
clock takes `SWITCH_S`. Both are priors and stand in the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattlane.core.types import Slo
from wattlane.model.clock import ClockPrior
from wattlane.model.laws.phase import Case
from wattlane.model.profile import Profile
from wattlane.plan.space import clock_grid
from wattlane.sim.fleet_types import EngineSettings, Pool, RestState

REPLICAS = 4
WAKE_S = 5.0
SWITCH_S = 0.01
Knobs = Mapping[str, float]  # the batch limits by their engine names, and whatever else a controller is tuned in


@dataclass(frozen=True, eq=False)
class Site:
    """The boards, the law and the SLO; `prior` is what the law takes clocks to do, the middle of its ranges if None.

    `pace` is how many seconds of the traffic's own time pass in a second: periods of minutes are divided by it.
    """

    case: Case  # at the maximum clock
    profile: Profile
    slo: Slo
    kv_capacity_tokens: int
    kv_block_tokens: int
    clock_steps: int
    replicas: int = REPLICAS
    prior: ClockPrior | None = None
    pace: float = 1.0

    @cached_property
    def clocks_hz(self) -> tuple[float, ...]:
        """The clock grid, ascending; the last is the maximum."""
        board = self.case.gpu
        return tuple(sorted(hz or board.clock_max_hz for hz in clock_grid(board, self.clock_steps)))

    @cached_property
    def laws(self) -> NDArray[np.float64]:
        """The law at each clock of the grid, (C, N)."""
        return np.stack([self.profile.law(replace(self.case, clock_hz=hz), self.prior) for hz in self.clocks_hz])

    def under(self, prior: ClockPrior) -> Site:
        """Return the same site where clocks do what `prior` says."""
        return replace(self, prior=prior)

    def at_pace(self, pace: float) -> Site:
        """Return the same site where arrivals are compressed `pace` times; the laws are shared."""
        other = replace(self, pace=pace)
        vars(other).update({name: vars(self)[name] for name in ("clocks_hz", "laws") if name in vars(self)})
        return other

    def tighter(self, share: float) -> Slo:
        """Return targets that are this share of the SLO's, for a rule that needs room."""
        return replace(self.slo, ttft_s=share * self.slo.ttft_s, tbt_s=share * self.slo.tbt_s)

    def parked(self, after_s: float) -> RestState:
        """Return the state of a replica whose engine is put to rest `after_s` after its last iteration."""
        board, gpus = self.case.gpu, self.case.num_gpus
        wake_j = WAKE_S * gpus * board.idle_loaded_w
        return RestState("parked", after_s, gpus * board.idle_w, exit_s=WAKE_S, exit_j=wake_j)

    def pool(self, at: Knobs, settings: EngineSettings | None = None, **changes: Any) -> Pool:
        """Return the replicas with the batch limits of `at`; `changes` are further fields of `Pool`."""
        settings = settings or EngineSettings()
        return Pool(
            laws=changes.pop("laws", self.laws),
            kv_capacity_tokens=self.kv_capacity_tokens,
            replicas=self.replicas,
            max_num_seqs=int(at["max_num_seqs"]),
            max_num_batched_tokens=int(at["max_num_batched_tokens"]),
            settings=replace(settings, kv_block_tokens=self.kv_block_tokens, prefix_block_tokens=self.kv_block_tokens),
            switch_s=SWITCH_S,
            name=f"{self.replicas} x {self.case.gpu.name}",
            **changes,
        )
