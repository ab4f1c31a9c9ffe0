"""A load on which prefill and decode can be told apart, planned before anything is measured.

    load at a point:  u = λ · (n / C_p + (m − 1) / C_d)         n prompt and m output tokens, λ requests per second
    rates:            r_p = λ · n,   r_d = λ · (m − 1)          tokens per second
    told apart:       VIF_j = 1 / (1 − R²_j) of each rate on the others; condition number of columns of length 1

C_p and C_d are the server's capacities. One kind of request at many rates moves both rates together and tells nothing;
prompt-heavy, decode-heavy and mixed requests at different rates move them apart.
Source of the limits: Belsley, Kuh, Welsch (1980), a condition number of 30; a VIF of 10 is the usual limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.core.workload import Workload
from wattlane.measure.workloads import resolve_workload

VIF_LIMIT = 10.0
CONDITION_LIMIT = 30.0
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of request."""

    name: str
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """Tokens per second the server reaches in each phase alone; a rough figure is enough to plan with."""

    prefill_tokens_per_s: float
    decode_tokens_per_s: float


SHAPES = (Shape("prompt_heavy", 512, 2), Shape("decode_heavy", 8, 64), Shape("mixed", 256, 32))
SHORT = Shape("short", 8, 4)  # mostly the request itself: needed to tell its own cost from that of its tokens


@dataclass(frozen=True, slots=True)
class LoadPoint:
    """Equal requests at one rate. `spec` names the workload as text, as `wattlane measure` takes it."""

    shape: Shape
    utilisation: float
    rate_rps: float
    requests: int
    arrivals: str = "poisson"

    @property
    def name(self) -> str:
        """Shape and share of the capacity."""
        return f"{self.shape.name}@{self.utilisation:.2f}"

    @property
    def spec(self) -> str:
        """The workload as text."""
        return (
            f"{self.arrivals}:n={self.requests},rate_rps={self.rate_rps:.6g},"
            f"input={self.shape.input_tokens},output={self.shape.output_tokens}"
        )

    @property
    def prefill_tokens_per_s(self) -> float:
        """Offered prompt tokens per second."""
        return self.rate_rps * self.shape.input_tokens

    @property
    def decode_tokens_per_s(self) -> float:
        """Offered output tokens per second without the first of each request."""
        return self.rate_rps * (self.shape.output_tokens - 1)

    def workload(self, seed: int) -> Workload:
        """Return the requests of one window."""
        return resolve_workload(self.spec, seed)


@dataclass(frozen=True, slots=True)
class Identifiability:
    """How well the columns can be told apart: `vif` by column, and the condition number of the scaled columns."""

    vif: dict[str, float]
    condition: float

    @property
    def is_identifiable(self) -> bool:
        """Whether every figure is within its limit."""
        return self.condition <= CONDITION_LIMIT and all(value <= VIF_LIMIT for value in self.vif.values())

    def __str__(self) -> str:
        figures = ", ".join(f"VIF of {name} {value:.3g}" for name, value in self.vif.items())
        return f"{figures} (limit {VIF_LIMIT:g}); condition number {self.condition:.3g} (limit {CONDITION_LIMIT:g})"


@dataclass(frozen=True, slots=True)
class Design:
    """Load points, repeats of each, and how well the two rates can be told apart on them."""

    points: tuple[LoadPoint, ...]
    repeats: int
    identifiability: Identifiability

    def windows(self, seed: int) -> Iterator[tuple[LoadPoint, int]]:
        """Yield (point, seed of its requests) in a shuffled order, so that drift is no effect of a point."""
        order = np.random.default_rng(seed).permutation(len(self.points) * self.repeats)
        for place in order:
            yield self.points[int(place) % len(self.points)], seed + 1 + int(place)

    @property
    def window_s(self) -> float:
        """Offered seconds of all windows together."""
        return self.repeats * sum(point.requests / point.rate_rps for point in self.points)


def design(
    capacity: Capacity,
    shapes: Sequence[Shape] = SHAPES,
    utilisations: Sequence[float] = (0.25, 0.5, 0.75),
    window_s: float = 10.0,
    repeats: int = 3,
    arrivals: str = "poisson",
    per_request: bool = False,
) -> Design:
    """Return load points of every shape at every share of the capacity.

    Args:
        capacity: of the server, tokens per second.
        shapes: kinds of request.
        utilisations: shares of the capacity, in (0, 1).
        window_s: length of the window at each point; at least one request is in it.
        repeats: windows of each point; from 2 on the fit can test itself.
        arrivals: kind of arrival process.
        per_request: the energy of a request itself is to be told apart too; add the shape `SHORT` for it.

    Raises:
        InputError: a value is out of range, or the two rates cannot be told apart on these points.
    """
    problems = list(_problems(capacity, shapes, utilisations, window_s, repeats))
    if problems:
        raise InputError.gathered("design", problems)
    points = tuple(_point(capacity, shape, u, window_s, arrivals) for shape in shapes for u in utilisations)
    rates = np.array([[p.prefill_tokens_per_s, p.decode_tokens_per_s, 1.0, p.rate_rps] for p in points])
    names = ("prefill", "decode", "time", "requests")[: 3 + per_request]
    found = identifiability(rates[:, : len(names)], names)
    if not found.is_identifiable:
        raise InputError(
            f"design of {len(points)} points: prefill and decode cannot be told apart on them: {found}; add shapes "
            "that are mostly prompt and mostly answer, or more rates"
        )
    return Design(points, repeats, found)


def identifiability(columns: Matrix, names: Sequence[str]) -> Identifiability:
    """Return how well the columns of a (windows, terms) matrix can be told apart.

    A column named "time" is the constant of the others: it has no VIF of its own and centres theirs.
    """
    lengths = np.linalg.norm(columns, axis=0)
    if not lengths.all() or len(columns) < columns.shape[1]:
        return Identifiability({name: math.inf for name in names if name != "time"}, math.inf)
    scaled = columns / lengths
    spread = np.linalg.svd(scaled, compute_uv=False)
    condition = float(spread[0] / spread[-1]) if spread[-1] > spread[0] * 1e-14 else math.inf
    centre = "time" in names
    vif = {name: _vif(columns, j, centre) for j, name in enumerate(names) if name != "time"}
    return Identifiability(vif, condition)


def _vif(columns: Matrix, j: int, centre: bool) -> float:
    own, others = columns[:, j], np.delete(columns, j, axis=1)
    whole = own - own.mean() if centre else own
    rest = own - others @ np.linalg.lstsq(others, own, rcond=None)[0]
    below = float(rest @ rest)
    return float(whole @ whole) / below if below > 1e-14 * float(own @ own) else math.inf


def _point(capacity: Capacity, shape: Shape, utilisation: float, window_s: float, arrivals: str) -> LoadPoint:
    each_s = shape.input_tokens / capacity.prefill_tokens_per_s
    each_s += (shape.output_tokens - 1) / capacity.decode_tokens_per_s
    rate_rps = utilisation / each_s
    return LoadPoint(shape, utilisation, rate_rps, max(round(rate_rps * window_s), 1), arrivals)


def _problems(
    capacity: Capacity, shapes: Sequence[Shape], utilisations: Sequence[float], window_s: float, repeats: int
) -> Iterator[str]:
    for name in ("prefill_tokens_per_s", "decode_tokens_per_s"):
        if not getattr(capacity, name) > 0:
            yield f"{name} is {getattr(capacity, name)}; expected tokens per second above 0"
    for shape in shapes:
        if shape.input_tokens < 1 or shape.output_tokens < 1:
            yield f"shape {shape.name} has {shape.input_tokens} in, {shape.output_tokens} out; expected at least 1"
    if not shapes or not utilisations:
        yield f"found {len(shapes)} shapes and {len(utilisations)} utilisations; expected at least 1 of each"
    if any(not 0 < u < 1 for u in utilisations):
        yield f"utilisations are {list(utilisations)}; expected shares between 0 and 1: past 1 the queue only grows"
    if not window_s > 0:
        yield f"window_s is {window_s}; expected seconds above 0"
    if repeats < 1:
        yield f"repeats is {repeats}; expected at least 1"
