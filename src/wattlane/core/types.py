"""The nouns: small frozen values shared by every package. SI units, unit in the name.

The life of a value: a `Request` arrives, a `Deployment` serves it under an `Slo`, and what happened is a row of
`wattlane.core.served`. Every energy or power carries its `Origin` and its `Boundary`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from wattlane.core.errors import InputError


class Phase(StrEnum):
    """Where a joule went: closed, every energy figure belongs to one."""

    PREFILL = "prefill"
    DECODE = "decode"
    IDLE = "idle"


class Origin(StrEnum):
    """Where an energy or power value comes from. Absent is never zero; modelled is never called measured."""

    MEASURED = "measured"
    MODELLED = "modelled"
    ABSENT = "absent"


class Boundary(StrEnum):
    """What a figure includes."""

    GPU = "gpu"
    GPU_AND_HOST = "gpu+host"
    CPU_PACKAGE = "cpu package"
    WALL = "wall"


class Outcome(StrEnum):
    """How a request ended. Only `COMPLETED` enters a denominator."""

    COMPLETED = "completed"
    REFUSED = "refused"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a workload."""

    request_id: int
    arrival_s: float
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Slo:
    """What must be kept. TTFT counts from arrival, hold time included.

    A request attains if it completed, met `ttft_s`, and the p99 of its own token gaps (the largest gap, below
    100 gaps) met `tbt_s`. `attainment` is the share of *offered* requests that must attain: failures are misses.
    """

    ttft_s: float = 1.0
    tbt_s: float = 0.1
    attainment: float = 0.99

    def __post_init__(self) -> None:
        problems = []
        if not self.ttft_s > 0:
            problems.append(f"ttft_s is {self.ttft_s}; expected seconds above 0")
        if not self.tbt_s > 0:
            problems.append(f"tbt_s is {self.tbt_s}; expected seconds above 0")
        if not 0 < self.attainment <= 1:
            problems.append(f"attainment is {self.attainment}; expected a share in (0, 1]")
        if problems:
            raise InputError.gathered("slo", problems)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its interval; `extrapolated` says the law was asked outside its calibrated range.

    `level` is the coverage the interval claims; `origin` says whether the mean was measured or modelled.
    """

    mean: float
    lo: float
    hi: float
    unit: str
    extrapolated: bool = False
    level: float = 0.95
    origin: Origin = Origin.MODELLED

    def __post_init__(self) -> None:
        if not (self.lo <= self.mean <= self.hi):
            raise ValueError(f"estimate {self.mean} {self.unit} lies outside its interval [{self.lo}, {self.hi}]")

    def __str__(self) -> str:
        mark = " (extrapolated)" if self.extrapolated else ""
        return f"{self.mean:.4g} {self.unit} [{self.lo:.4g}, {self.hi:.4g}]{mark}"


@dataclass(frozen=True, slots=True)
class Deployment:
    """How a model is served: one replica's configuration and how many of them.

    `clock_hz` of None means the GPU's maximum. `release_window_s` of 0 means requests are released on arrival.
    `expert_parallel` of None places whole experts on the GPUs of a stage; 1 splits each over them.
    """

    model: str
    gpu: str
    precision: str = "bf16"
    tensor_parallel: int = 1
    replicas: int = 1
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    gpu_memory_utilization: float = 0.9
    clock_hz: float | None = None
    power_cap_w: float | None = None
    release_window_s: float = 0.0
    pipeline_parallel: int = 1
    expert_parallel: int | None = None

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value}; expected an integer of at least 1"
            for name, value in (
                ("tensor_parallel", self.tensor_parallel),
                ("pipeline_parallel", self.pipeline_parallel),
                ("replicas", self.replicas),
                ("max_num_seqs", self.max_num_seqs),
                ("max_num_batched_tokens", self.max_num_batched_tokens),
            )
            if value < 1
        ]
        if self.expert_parallel not in (None, 1, self.tensor_parallel):
            problems.append(
                f"expert_parallel is {self.expert_parallel}; expected none, 1 or the {self.tensor_parallel} of a stage"
            )
        if not 0 < self.gpu_memory_utilization <= 1:
            problems.append(f"gpu_memory_utilization is {self.gpu_memory_utilization}; expected a share in (0, 1]")
        if self.clock_hz is not None and not self.clock_hz > 0:
            problems.append(f"clock_hz is {self.clock_hz}; expected hertz above 0")
        if self.power_cap_w is not None and not self.power_cap_w > 0:
            problems.append(f"power_cap_w is {self.power_cap_w}; expected watts above 0")
        if not self.release_window_s >= 0:
            problems.append(f"release_window_s is {self.release_window_s}; expected seconds of at least 0")
        if problems:
            raise InputError.gathered("deployment", problems)

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.tensor_parallel * self.pipeline_parallel


@dataclass(frozen=True, slots=True)
class Ledger:
    """The energy account of a run: metered = prefill + decode + idle + overhead + residual.

    `metered_j` is integrated from the power record without looking at requests; the phases are sums over requests.
    """

    metered_j: float
    prefill_j: float
    decode_j: float
    idle_j: float
    overhead_j: float = 0.0
    origin: Origin = Origin.MODELLED
    boundary: Boundary = Boundary.GPU
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def residual_j(self) -> float:
        """Metered minus everything accounted for, joules."""
        return self.metered_j - math.fsum((self.prefill_j, self.decode_j, self.idle_j, self.overhead_j))

    def balanced(self, tolerance: float = 1e-9) -> bool:
        """Return whether the account closes within `tolerance` times the metered energy."""
        return abs(self.residual_j) <= tolerance * abs(self.metered_j)
