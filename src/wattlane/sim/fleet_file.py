"""FLEET.toml: pools, how they schedule and rest, failures and scaling, checked whole; every problem is said at once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from wattlane.core.errors import InputError
from wattlane.core.facts.config import resolve_model
from wattlane.core.facts.engines import engine_defaults
from wattlane.core.facts.gpus import gpu as gpu_named
from wattlane.core.sections import Section, read_toml
from wattlane.core.types import Slo
from wattlane.model.laws.phase import Case
from wattlane.model.profile import profile_for
from wattlane.sim.capping import CapKind, Capping
from wattlane.sim.clocking import Clocking, ClockKind
from wattlane.sim.fleet_types import (
    EngineSettings,
    Failure,
    Fleet,
    Order,
    Pool,
    Release,
    ReleaseKind,
    RestState,
    Role,
    Routing,
    Scale,
    Scaling,
    ScalingKind,
    Scheduling,
    Transfer,
)


class EngineSection(Section):
    """How replicas schedule; see `EngineSettings`."""

    scheduling: Annotated[Scheduling, Field(strict=False)] = Scheduling.CONTINUOUS
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
    order: Annotated[Order, Field(strict=False)] = Order.FCFS
    patience_s: float = 1.0


class ClockingSection(Section):
    """How a pool chooses its clock; see `Clocking`."""

    kind: Annotated[ClockKind, Field(strict=False)] = ClockKind.FIXED
    margin: float = 0.9
    z: float = 2.33
    relative_error: float = 0.05
    period_s: float = 0.25
    slow_periods: int = 8
    tail: float = 0.05
    hysteresis: float = 0.15
    increase: float = 1.5
    decrease: float = 1.0
    memory_s: float = 60.0


class CappingSection(Section):
    """How the fleet is held to a power budget; see `Capping`."""

    kind: Annotated[CapKind, Field(strict=False)]
    budget_w: float
    period_s: float = 1.0
    first: float = 0.80
    second: float = 0.89
    release: float = 0.05
    low_pools: Annotated[tuple[int, ...], Field(strict=False)] = ()
    low_first: float = 0.904
    low_second: float = 0.787
    high_second: float = 0.926
    inlet_c: float = 25.0
    c_per_w: float = 0.08
    warm_s: float = 30.0
    limit_c: float = 80.0
    band_c: float = 4.0


class SloSection(Section):
    """The targets that policies look at; see `Slo`."""

    ttft_s: float = 1.0
    tbt_s: float = 0.1
    attainment: float = 0.99


class RestSection(Section):
    """A state of rest; see `RestState`."""

    name: str
    after_s: float
    power_w: float
    entry_s: float = 0.0
    entry_j: float = 0.0
    exit_s: float = 0.0
    exit_j: float = 0.0


class PoolSection(Section):
    """Equal replicas. Limits left out are the engine's defaults; `clock_steps` points span the GPU's clocks."""

    gpu: str
    precision: str = "bf16"
    tensor_parallel: int = Field(default=1, ge=1)
    replicas: int = Field(default=1, ge=1)
    role: Annotated[Role, Field(strict=False)] = Role.SERVE
    max_num_seqs: int | None = Field(default=None, ge=1)
    max_num_batched_tokens: int | None = Field(default=None, ge=1)
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    clock_steps: int = Field(default=1, ge=1, le=60)
    prefill_clock_mhz: float | None = Field(default=None, gt=0)
    decode_clock_mhz: float | None = Field(default=None, gt=0)
    clocking: ClockingSection = Field(default_factory=ClockingSection)
    switch_s: float = Field(default=0.0, ge=0)
    power_cap_w: float | None = Field(default=None, gt=0)
    draft_model: str | None = None
    down_w: float = Field(default=0.0, ge=0)
    engine: EngineSection = Field(default_factory=EngineSection)
    rest: Annotated[tuple[RestSection, ...], Field(strict=False)] = ()


class TransferSection(Section):
    """Moving a KV cache from a prefill to a decode pool."""

    latency_s: float = Field(default=0.0, ge=0)
    bytes_per_s: float | None = Field(default=None, gt=0)
    byte_j: float = Field(default=0.0, ge=0)


class FailureSection(Section):
    """A replica, counted over all pools from 0, is out of order; seconds of the workload."""

    replica: int = Field(ge=0)
    at_s: float
    up_s: float


class ScaleSection(Section):
    """From `at_s` on so many replicas of each pool take requests."""

    at_s: float
    active: Annotated[tuple[int, ...], Field(strict=False)]


class ReleaseSection(Section):
    """When requests are let through; see `Release`."""

    kind: Annotated[ReleaseKind, Field(strict=False)]
    window_s: float = 0.0
    spacing_s: float = 0.0
    margin: float = 0.8
    margin_s: float = 0.0
    carbon_g_per_kwh: Annotated[tuple[float, ...], Field(strict=False)] = ()
    series_start_s: float = 0.0


class ScalingSection(Section):
    """How many replicas take requests; see `Scaling`."""

    kind: Annotated[ScalingKind, Field(strict=False)]
    period_s: float = 60.0
    target: float = 0.8
    pressure: int = 4
    least: int = 1
    hysteresis: float = 0.2
    patience: int = 3


class FleetSection(Section):
    """A whole file."""

    model: str
    routing: Annotated[Routing, Field(strict=False)] = Routing.ROUND_ROBIN
    length_error: float | None = None
    routing_margin: float = 0.8
    routing_balance: int = 16
    retry_s: float = Field(default=0.0, ge=0)
    pool: Annotated[tuple[PoolSection, ...], Field(strict=False)]
    transfer: TransferSection = Field(default_factory=TransferSection)
    failure: Annotated[tuple[FailureSection, ...], Field(strict=False)] = ()
    scale: Annotated[tuple[ScaleSection, ...], Field(strict=False)] = ()
    slo: SloSection | None = None
    capping: CappingSection | None = None
    release: ReleaseSection | None = None
    scaling: ScalingSection | None = None


def read_fleet(path: Path, seed: int = 0) -> Fleet:
    """Return the fleet of a file.

    Raises:
        InputError: no TOML, unknown keys, values out of place, names unknown, or weights that do not fit.
    """
    section = read_toml(path, FleetSection, "docs/concepts/engine-model.md")
    pools, problems = [], []
    for number, part in enumerate(section.pool):
        try:
            pools.append(_pool(part, section.model, f"pool {number}"))
        except InputError as problem:
            problems.append(str(problem))
    if problems:
        raise InputError.gathered(str(path), problems)
    transfer = section.transfer
    return Fleet(
        tuple(pools),
        routing=section.routing,
        transfer=Transfer(transfer.latency_s, transfer.bytes_per_s or math.inf, transfer.byte_j),
        failures=tuple(Failure(**f.model_dump()) for f in section.failure),
        scales=tuple(Scale(s.at_s, s.active) for s in section.scale),
        retry_s=section.retry_s,
        seed=seed,
        capping=None if section.capping is None else Capping(**section.capping.model_dump()),
        slo=None if section.slo is None else Slo(**section.slo.model_dump()),
        release=Release() if section.release is None else Release(**section.release.model_dump()),
        scaling=None if section.scaling is None else Scaling(**section.scaling.model_dump()),
        length_error=section.length_error,
        routing_margin=section.routing_margin,
        routing_balance=section.routing_balance,
    )


def _pool(part: PoolSection, model: str, name: str) -> Pool:
    board = gpu_named(part.gpu)
    case = Case(board, resolve_model(model), part.precision, part.tensor_parallel)
    defaults = engine_defaults("vllm", board)
    profile = profile_for(board)
    clocks_hz = np.linspace(board.clock_min_hz, board.clock_max_hz, part.clock_steps + 1)[1:]

    def at(clock_hz: float, of: Case = case) -> Any:
        return profile_for(board).law(Case(of.gpu, of.model, of.precision, of.tensor_parallel, clock_hz))

    def nearest(clock_mhz: float | None) -> int | None:
        return None if clock_mhz is None else int(np.abs(clocks_hz - clock_mhz * 1e6).argmin())

    budget = part.max_num_batched_tokens or defaults.max_num_batched_tokens
    drafts = 1 + part.engine.draft_tokens
    draft_law = None
    if part.draft_model is not None:
        draft_law = profile.law(Case(board, resolve_model(part.draft_model), part.precision, part.tensor_parallel))
    settings: dict[str, Any] = {key: getattr(part.engine, key) for key in EngineSection.model_fields}
    return Pool(
        laws=np.stack([at(float(hz)) for hz in clocks_hz]),
        kv_capacity_tokens=case.kv_capacity_tokens(part.gpu_memory_utilization or defaults.gpu_memory_utilization),
        replicas=part.replicas,
        max_num_seqs=part.max_num_seqs or min(defaults.max_num_seqs, max(budget // drafts, 1)),
        max_num_batched_tokens=budget,
        settings=EngineSettings(**settings),
        role=part.role,
        gpus=part.tensor_parallel,
        name=f"{name} ({board.name})",
        prefill_clock=nearest(part.prefill_clock_mhz),
        decode_clock=nearest(part.decode_clock_mhz),
        clocking=Clocking(**part.clocking.model_dump()),
        switch_s=part.switch_s,
        power_cap_w=math.inf if part.power_cap_w is None else part.power_cap_w * part.tensor_parallel,
        draft_law=draft_law,
        rests=tuple(RestState(**r.model_dump()) for r in part.rest),
        down_w=part.down_w,
    )
