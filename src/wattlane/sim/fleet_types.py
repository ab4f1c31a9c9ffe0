"""What a fleet of paged engines is: pools of equal replicas, how they schedule, rest and fail, who may be served where.

Everything is checked when it is made, and all that is wrong is said at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.core.types import Slo
from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.sim.capping import Capping
from wattlane.sim.clocking import Clocking
from wattlane.sim.policy_types import FORESIGHTED, Order, Release, ReleaseKind, Routing, Scaling, ScalingKind

__all__ = [
    "EngineSettings",
    "Failure",
    "Fleet",
    "Order",
    "Pool",
    "Release",
    "ReleaseKind",
    "RestState",
    "Role",
    "Routing",
    "Scale",
    "Scaling",
    "ScalingKind",
    "Scheduling",
    "Tags",
    "Transfer",
]


class Scheduling(StrEnum):
    """When prompts join: every iteration, by TGI's waiting ratio, or in padded batches."""

    CONTINUOUS = "continuous"
    WAITING_RATIO = "waiting-ratio"
    STATIC = "static"


class Role(StrEnum):
    """What a pool does: whole requests, prompts only, or answers to prompts processed elsewhere."""

    SERVE = "serve"
    PREFILL = "prefill"
    DECODE = "decode"


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How one replica schedules. See docs/concepts/engine-model.md.

    `prefix_block_tokens` is the size of the workload's hash blocks, a multiple of `kv_block_tokens`. `acceptance` is
    the probability that a draft token is accepted. A LoRA adapter that has no slot costs `lora_load_s` and
    `lora_load_j` when it comes in. `waiting_served_ratio` and `max_waiting_tokens` are TGI's, `schedule_ahead` is
    vLLM's asynchronous scheduling. Ordered by KV length or laxity, a request that has waited for `patience_s` goes
    before all younger ones.
    """

    scheduling: Scheduling = Scheduling.CONTINUOUS
    priority: bool = False
    chunked_prefill: bool = True
    prefix_cache: bool = False
    reserve_kv: bool = False
    schedule_ahead: bool = False
    kv_block_tokens: int = 16
    prefix_block_tokens: int = 16
    draft_tokens: int = 0
    acceptance: float = 0.0
    max_loras: int = 0
    lora_load_s: float = 0.0
    lora_load_j: float = 0.0
    waiting_served_ratio: float = 0.3
    max_waiting_tokens: int = 20
    order: Order = Order.FCFS
    patience_s: float = 1.0

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise InputError.gathered("engine settings", problems)

    def _problems(self) -> Iterator[str]:
        for name, least in (
            ("kv_block_tokens", 1),
            ("prefix_block_tokens", 1),
            ("max_waiting_tokens", 1),
            ("draft_tokens", 0),
            ("max_loras", 0),
            ("lora_load_s", 0),
            ("lora_load_j", 0),
            ("waiting_served_ratio", 0),
            ("patience_s", 0),
        ):
            if not getattr(self, name) >= least:
                yield f"{name} is {getattr(self, name)}; expected at least {least}"
        if not 0 <= self.acceptance <= 1:
            yield f"acceptance is {self.acceptance}; expected a probability in [0, 1]"
        if self.kv_block_tokens >= 1 and self.prefix_block_tokens % self.kv_block_tokens:
            yield (
                f"prefix_block_tokens is {self.prefix_block_tokens}; "
                f"expected a multiple of kv_block_tokens, {self.kv_block_tokens}"
            )
        if self.scheduling is not Scheduling.CONTINUOUS:
            for name in ("prefix_cache", "draft_tokens", "schedule_ahead"):
                if getattr(self, name):
                    yield f"{name} is set with {self.scheduling.value} scheduling; expected continuous scheduling"
        if self.scheduling is Scheduling.STATIC and self.order is Order.KV_ALIGNED:
            yield "order is kv-aligned with static scheduling, where nobody decodes when a batch is formed"
        if self.scheduling is Scheduling.STATIC and self.max_loras:
            yield "max_loras is set with static scheduling; expected continuous scheduling or a waiting ratio"


@dataclass(frozen=True, slots=True)
class RestState:
    """A state of rest entered `after_s` after the last iteration; vLLM's sleep level 1 or 2, a parked clock, off."""

    name: str
    after_s: float
    power_w: float
    entry_s: float = 0.0
    entry_j: float = 0.0
    exit_s: float = 0.0
    exit_j: float = 0.0


@dataclass(frozen=True, eq=False)
class Pool:
    """Replicas of one kind: limits, the laws at each clock of the grid (C, N), ascending, and how they rest.

    `power_cap_w` lowers the clock iteration by iteration; `prefill_clock` and `decode_clock` index the grid (None: the
    highest) where `clocking` is fixed. `draft_law` is that of the draft model, None where drafts are free. `model` says
    which requests it serves, `gpus` how many boards one replica is.
    """

    laws: NDArray[np.float64]
    kv_capacity_tokens: int
    replicas: int = 1
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    settings: EngineSettings = field(default_factory=EngineSettings)
    role: Role = Role.SERVE
    model: int = 0
    name: str = "pool"
    gpus: int = 1
    prefill_clock: int | None = None
    decode_clock: int | None = None
    clocking: Clocking = field(default_factory=Clocking)
    switch_s: float = 0.0
    power_cap_w: float = math.inf
    draft_law: NDArray[np.float64] | None = None
    rests: tuple[RestState, ...] = ()
    down_w: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "laws", np.atleast_2d(np.ascontiguousarray(self.laws, np.float64)))
        problems = [f"{self.name}: {problem}" for problem in self._problems()]
        if problems:
            raise InputError.gathered("pool", problems)

    def _problems(self) -> Iterator[str]:
        for name in ("replicas", "gpus", "max_num_seqs", "max_num_batched_tokens"):
            if getattr(self, name) < 1:
                yield f"{name} is {getattr(self, name)}; expected an integer of at least 1"
        if self.laws.shape[1] != it.N:
            yield f"laws have {self.laws.shape[1]} coefficients; expected {it.N}"
        s = self.settings
        least = self.max_num_seqs * (1 + s.draft_tokens)
        if s.scheduling is Scheduling.CONTINUOUS and self.max_num_batched_tokens < least:
            yield (
                f"max_num_batched_tokens is {self.max_num_batched_tokens}; expected at least {least}, "
                "a token and its drafts for every sequence: raise it or lower max_num_seqs"
            )
        for name in ("prefill_clock", "decode_clock"):
            index = getattr(self, name)
            if index is not None and not 0 <= index < len(self.laws):
                yield f"{name} is {index}; expected an index below the {len(self.laws)} clocks of the grid"
        if self.role is not Role.SERVE and s.scheduling is not Scheduling.CONTINUOUS:
            yield f"role is {self.role.value} with {s.scheduling.value} scheduling; expected continuous scheduling"
        if not self.power_cap_w > 0:
            yield f"power_cap_w is {self.power_cap_w}; expected watts above 0"
        if not self.switch_s >= 0:
            yield f"switch_s is {self.switch_s}; expected seconds of at least 0"
        last_s = 0.0
        for state in self.rests:
            values = (state.after_s, state.power_w, state.entry_s, state.entry_j, state.exit_s, state.exit_j)
            if min(values) < 0:
                yield f"rest state {state.name} has a negative number; expected seconds, watts and joules of at least 0"
            if state.after_s < last_s:
                yield f"rest state {state.name} is entered after {state.after_s} s; expected states in order of after_s"
            last_s = state.after_s


@dataclass(frozen=True, slots=True)
class Failure:
    """A replica (counted over all pools) breaks down at `at_s` and is back at `up_s`, seconds of the workload."""

    replica: int
    at_s: float
    up_s: float


@dataclass(frozen=True, slots=True)
class Scale:
    """From `at_s` on the first `active` replicas of each pool take requests."""

    at_s: float
    active: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Transfer:
    """What moving the KV cache of a prompt to another replica takes."""

    latency_s: float = 0.0
    bytes_per_s: float = math.inf
    byte_j: float = 0.0


@dataclass(frozen=True, eq=False)
class Fleet:
    """Pools, how requests find a replica, and what happens to it. Lost requests are sent again after `retry_s`.

    `slo` holds the targets that policies may look at. `wattlane` routing uses `routing_margin` of them; `prefix-aware`
    routing lets replicas differ by `routing_balance` requests. Answers are foreseen to be as long as the mean one, or,
    with a `length_error`, as they are, save for that share of them, which are foreseen with the length of another one.
    """

    pools: tuple[Pool, ...]
    routing: Routing = Routing.ROUND_ROBIN
    transfer: Transfer = field(default_factory=Transfer)
    failures: tuple[Failure, ...] = ()
    scales: tuple[Scale, ...] = ()
    retry_s: float = 0.0
    release: Release = field(default_factory=Release)
    seed: int = 0
    slo: Slo | None = None
    scaling: Scaling | None = None
    length_error: float | None = None
    capping: Capping | None = None
    routing_margin: float = 0.8
    routing_balance: int = 16

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise InputError.gathered("fleet", problems)

    @property
    def needs_deadlines(self) -> bool:
        """Whether requests must say by when they are due."""
        return self.release.kind in (ReleaseKind.DEADLINE_AWARE, ReleaseKind.CARBON)

    @property
    def replicas(self) -> int:
        """Replicas of all pools."""
        return sum(pool.replicas for pool in self.pools)

    def _problems(self) -> Iterator[str]:
        if not self.pools:
            yield "no pools; expected at least one"
        roles: dict[int, set[Role]] = {}
        for pool in self.pools:
            roles.setdefault(pool.model, set()).add(pool.role)
        for model, found in roles.items():
            if found not in ({Role.SERVE}, {Role.PREFILL, Role.DECODE}):
                words = " and ".join(sorted(role.value for role in found))
                yield f"model {model} has pools that {words}; expected serve alone, or prefill and decode"
        for name in ("priority", "prefix_block_tokens"):
            used = [p.settings for p in self.pools if name == "priority" or p.settings.prefix_cache]
            values = sorted({getattr(s, name) for s in used})
            if len(values) > 1:
                yield f"pools differ in {name}: {values}; expected one for all, since requests move between replicas"
        for failure in self.failures:
            if not 0 <= failure.replica < self.replicas:
                yield f"failure of replica {failure.replica}; expected one of the {self.replicas}"
            if failure.up_s < failure.at_s:
                yield f"replica {failure.replica} is back at {failure.up_s} s; expected after {failure.at_s} s"
        if not self.retry_s >= 0:
            yield f"retry_s is {self.retry_s}; expected seconds of at least 0"
        for scale in self.scales:
            if len(scale.active) != len(self.pools) or min(scale.active, default=0) < 0:
                yield f"scale at {scale.at_s} s is {list(scale.active)}; expected a count for each pool"
        yield from self._policy_problems()

    def _policy_problems(self) -> Iterator[str]:
        if self.scaling is not None and self.slo is None:
            yield f"scaling is {self.scaling.kind.value} without slo; expected the targets it sizes pools by"
        if self.routing in FORESIGHTED and self.slo is None:
            yield f"routing is {self.routing.value} without slo; expected the targets it keeps"
        if self.release.kind is ReleaseKind.SLACK_AWARE and self.slo is None:
            yield "release is slack-aware without slo; expected the TTFT target it keeps"
        if self.length_error is not None and not 0 <= self.length_error <= 1:
            yield f"length_error is {self.length_error}; expected a share in [0, 1]"
        if not 0 < self.routing_margin <= 1:
            yield f"routing_margin is {self.routing_margin}; expected a share in (0, 1]"
        if self.routing_balance < 0:
            yield f"routing_balance is {self.routing_balance}; expected requests of at least 0"
        if self.scaling is not None and self.scales:
            yield "scaling and scales are both set; expected one of them"
        if self.capping is not None:
            yield from self._capping_problems(self.capping)
        for pool in self.pools:
            if pool.clocking.needs_slo and self.slo is None:
                yield f"{pool.name} has {pool.clocking.kind.value} clocks and the fleet no slo; expected the targets"

    def _capping_problems(self, capping: Capping) -> Iterator[str]:
        if capping.is_watched and any(pool.role is not Role.SERVE for pool in self.pools):
            yield (
                f"capping is {capping.kind.value} with prompts and answers apart; expected static capping, or pools "
                "that serve whole requests: the two halves are replayed one after the other, and no tick sees both"
            )
        if max(capping.low_pools, default=0) >= len(self.pools):
            yield f"low_pools is {list(capping.low_pools)}; expected numbers below the {len(self.pools)} pools"


@dataclass(frozen=True, eq=False)
class Tags:
    """What requests carry beyond tokens, shape (n,) each or absent: priority (lower first), adapter (0: none), model.

    `predicted_tokens` are output tokens as foreseen on arrival; absent, the fleet's `length_error` says what is.
    `deadline_s` is by when after its arrival an answer is to be complete (infinite or NaN: no matter), `deferrable`
    whether `carbon` release may hold a request for that long.
    `prefix_at` (n + 1,) and `prefix_ids` are the names of each prompt's hash blocks, row after row.
    """

    priority: NDArray[np.int64] | None = None
    adapter: NDArray[np.int64] | None = None
    model: NDArray[np.int64] | None = None
    prefix_at: NDArray[np.int64] | None = None
    prefix_ids: NDArray[np.int64] | None = None
    predicted_tokens: NDArray[np.int64] | None = None
    deadline_s: NDArray[np.float64] | None = None
    deferrable: NDArray[np.bool_] | None = None

    @cached_property
    def numbered(self) -> tuple[NDArray[np.int64], int]:
        """The names of hash blocks numbered from 0, and how many there are; worked out once."""
        if self.prefix_ids is None or len(self.prefix_ids) == 0:
            return np.zeros(0, np.int64), 0
        found, numbers = np.unique(self.prefix_ids, return_inverse=True)
        return np.ascontiguousarray(numbers, np.int64), len(found)

    def check(self, workload: Workload, fleet: Fleet) -> None:
        """Raise an InputError that lists every column that does not fit the workload or the fleet."""
        n, problems = len(workload), []
        for name in ("priority", "adapter", "model", "predicted_tokens", "deadline_s", "deferrable"):
            column = getattr(self, name)
            if column is not None and len(column) != n:
                problems.append(f"{name} has {len(column)} values; expected {n}, one for each request")
        if self.adapter is not None and len(self.adapter) and self.adapter.min() < 0:
            problems.append(f"adapter holds {self.adapter.min()}; expected 0 for none, or a positive number")
        if self.predicted_tokens is not None and len(self.predicted_tokens) and self.predicted_tokens.min() < 1:
            problems.append(f"predicted_tokens holds {self.predicted_tokens.min()}; expected at least 1")
        if self.deadline_s is not None and len(self.deadline_s) and not np.nanmin(self.deadline_s, initial=1.0) > 0:
            problems.append(f"deadline_s holds {np.nanmin(self.deadline_s)}; expected seconds above 0")
        laxity = any(pool.settings.order is Order.LEAST_LAXITY for pool in fleet.pools)
        if laxity and self.deadline_s is None and fleet.slo is None:
            problems.append("order is least-laxity without deadline_s and slo; expected one of them")
        if fleet.needs_deadlines and self.deadline_s is None:
            problems.append("deadline_s is absent; expected the seconds of each request that the release policy keeps")
        problems += self._misfits(n, fleet)
        if problems:
            raise InputError.gathered("tags", problems)

    def _misfits(self, n: int, fleet: Fleet) -> list[str]:
        known, problems = {pool.model for pool in fleet.pools}, []
        unknown = sorted(set(np.unique(self.model).tolist()) - known) if self.model is not None else []
        if unknown or (self.model is None and 0 not in known):
            problems.append(f"requests ask for models {unknown or [0]}; the pools serve {sorted(known)}")
        if (self.prefix_at is None) != (self.prefix_ids is None):
            problems.append("prefix_at and prefix_ids come together; found one of them")
        elif self.prefix_at is not None and self.prefix_ids is not None:
            ends = len(self.prefix_at) == n + 1 and self.prefix_at[-1] == len(self.prefix_ids)
            if not ends or np.diff(self.prefix_at).min(initial=0) < 0:
                problems.append(f"prefix_at does not cut {len(self.prefix_ids)} names into {n} rows")
        return problems
