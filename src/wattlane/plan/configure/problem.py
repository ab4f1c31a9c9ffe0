"""The configuration problem as columns: what must be served, what an instance can do, what the fleet has.

In each time bin t, pool p of requests arrives at d[t, p] requests per second. A *mode* m is one instance of an
engine (a GPU type, a model, a parallelism, a batch limit, a clock, ...) at one level of load: it serves at most
`rate_per_s` of its pool within the SLO and draws `power_w` while it does. n[t, m] instances run in it. Modes of one
*shape* share an engine process: going from one to another is a matter of routing and clocks, so that only more
instances of a shape than in the bin before cost a start. GPUs that no instance uses are parked.

    min  Σ_t Σ_m n·(w·(power − gpus·parked)·Δ + h·gpus) + Σ_t (Σ_s w·start_j·u + Σ_g w·wake_j·v) + parked fleet
    cover    Σ_m rate·n ≥ d                              for each (t, p)
    fleet    Σ_m gpus·n ≤ count                          for each (t, g)
    watts    Σ_m (power − gpus·parked)·n ≤ cap − parked  for each t
    start    u[t, s] ≥ N[t, s] − N[t−1, s],  N = Σ n     for each (t, s)
    wake     v[t, g] ≥ U[t, g] − U[t−1, g],  U = Σ gpus·n  for each (t, g)
    n, u, v ≥ 0, n whole

w is what a joule counts in the objective (1 for energy, gCO2e or $ per joule), h what a GPU in use costs for a bin.
Shape and form: DynamoLLM (arXiv 2408.00741) for pools and knobs, arXiv 2502.00722 for rented GPUs, FREESH (arXiv
2511.00807) for series by site, POLCA (arXiv 2308.12908) and TAPAS (arXiv 2501.02600) for the watt cap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Modes:
    """The performance map, one row an instance at a level of load; every column is (M,).

    `pool`, `gpu` and `shape` are indices; `gpus` how many GPUs one instance takes.
    """

    pool: Ints
    gpu: Ints
    shape: Ints
    gpus: Ints
    rate_per_s: Floats
    power_w: Floats

    def __len__(self) -> int:
        return len(self.pool)

    def take(self, rows: Ints) -> Modes:
        """Return the chosen rows."""
        return Modes(
            self.pool[rows],
            self.gpu[rows],
            self.shape[rows],
            self.gpus[rows],
            self.rate_per_s[rows],
            self.power_w[rows],
        )


@dataclass(frozen=True, eq=False)
class Problem:
    """One configuration problem; T bins, P pools, G GPU types, S shapes, M modes.

    Raises:
        InputError: a column is of another length, negative or not finite; all problems together.
    """

    demand_per_s: Floats  # (T, P)
    bin_s: float
    modes: Modes
    gpu_count: Ints  # (G,)
    parked_w: Floats  # (G,) of one parked GPU
    wake_j: Floats  # (G,) to take one GPU into use
    start_j: Floats  # (S,) to start one instance of a shape
    shape_gpu: Ints  # (S,)
    cap_w: Floats  # (T,) of the whole fleet; inf where there is none
    per_j: Floats  # (T, G) objective units of a joule
    per_gpu_bin: Floats  # (T, G) objective units of a GPU in use for one bin
    running: Ints  # (S,) instances of each shape before the first bin

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise InputError.gathered("configuration problem", problems)

    def _problems(self) -> Iterator[str]:
        bins, pools = self.demand_per_s.shape
        gpus, shapes = len(self.gpu_count), len(self.start_j)
        lengths = {
            "parked_w": (self.parked_w.shape, (gpus,)),
            "wake_j": (self.wake_j.shape, (gpus,)),
            "shape_gpu": (self.shape_gpu.shape, (shapes,)),
            "cap_w": (self.cap_w.shape, (bins,)),
            "per_j": (self.per_j.shape, (bins, gpus)),
            "per_gpu_bin": (self.per_gpu_bin.shape, (bins, gpus)),
            "running": (self.running.shape, (shapes,)),
        }
        for name, (found, wanted) in lengths.items():
            if found != wanted:
                yield f"{name} has shape {found}; expected {wanted}"
        if not self.bin_s > 0:
            yield f"bin_s is {self.bin_s}; expected seconds above 0"
        for name, values in (
            ("demand_per_s", self.demand_per_s),
            ("gpu_count", self.gpu_count),
            ("parked_w", self.parked_w),
            ("wake_j", self.wake_j),
            ("start_j", self.start_j),
            ("per_j", self.per_j),
            ("per_gpu_bin", self.per_gpu_bin),
            ("running", self.running),
            ("modes.power_w", self.modes.power_w),
        ):
            if values.size and not (np.isfinite(values).all() and values.min() >= 0):
                worst = values[~(np.isfinite(values) & (values >= 0))].flat[0]
                yield f"{name} holds {worst}; expected finite values of at least 0"
        if np.isnan(self.cap_w).any() or (self.cap_w < 0).any():
            yield "cap_w holds a value below 0 or NaN; expected watts, inf where there is no cap"
        if len(self.modes) and not self.modes.rate_per_s.min() > 0:
            yield f"modes.rate_per_s holds {self.modes.rate_per_s.min()}; expected requests per second above 0"
        for name, column, size in (
            ("pool", self.modes.pool, pools),
            ("gpu", self.modes.gpu, gpus),
            ("shape", self.modes.shape, shapes),
        ):
            if column.size and not (column.min() >= 0 and column.max() < size):
                yield f"modes.{name} holds an index outside 0 to {size - 1}"
                return
        if (self.modes.gpus != self.gpus_of_shape[self.modes.shape]).any():
            yield "modes of one shape take different numbers of GPUs; expected one number a shape"

    @property
    def bins(self) -> int:
        """Number of time bins."""
        return len(self.demand_per_s)

    @cached_property
    def extra_w(self) -> Floats:
        """Watts of one instance above what its GPUs would draw parked, (M,)."""
        m = self.modes
        return m.power_w - m.gpus * self.parked_w[m.gpu]

    @cached_property
    def mode_cost(self) -> Floats:
        """Objective of one instance for one bin, above parked GPUs, (T, M)."""
        m = self.modes
        cost: Floats = self.per_j[:, m.gpu] * (self.extra_w * self.bin_s) + self.per_gpu_bin[:, m.gpu] * m.gpus
        return cost

    @cached_property
    def start_cost(self) -> Floats:
        """Objective of one start, (T, S)."""
        return self.per_j[:, self.shape_gpu] * self.start_j

    @cached_property
    def wake_cost(self) -> Floats:
        """Objective of taking one GPU into use, (T, G)."""
        return self.per_j * self.wake_j

    @cached_property
    def parked_cost(self) -> float:
        """Objective of the whole fleet parked all the time."""
        return float((self.per_j * (self.gpu_count * self.parked_w) * self.bin_s).sum())

    @cached_property
    def room_w(self) -> Floats:
        """Watts left for instances when every GPU is parked, (T,)."""
        return self.cap_w - float(self.gpu_count @ self.parked_w)

    @cached_property
    def gpus_of_shape(self) -> Ints:
        """GPUs one instance of a shape takes, (S,)."""
        out = np.zeros(len(self.start_j), np.int64)
        out[self.modes.shape] = self.modes.gpus
        return out

    @cached_property
    def used_before(self) -> Ints:
        """GPUs in use before the first bin, (G,)."""
        return np.bincount(self.shape_gpu, self.running * self.gpus_of_shape, len(self.gpu_count)).astype(np.int64)

    def shapes_running(self, counts: Ints) -> Ints:
        """Return instances of each shape, (..., S), from instances in each mode, (..., M)."""
        out: Ints = counts @ _one_hot(self.modes.shape, len(self.start_j))
        return out

    def gpus_used(self, counts: Ints) -> Ints:
        """Return GPUs in use of each type, (..., G), from instances in each mode, (..., M)."""
        out: Ints = counts @ (_one_hot(self.modes.gpu, len(self.gpu_count)) * self.modes.gpus[:, None])
        return out


def _one_hot(index: Ints, size: int) -> Ints:
    out: Ints = (index[:, None] == np.arange(size)).astype(np.int64)
    return out
