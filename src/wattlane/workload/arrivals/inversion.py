"""A Poisson process whose rate changes over time, by inversion.

If u is a Poisson process of rate 1 and Λ(t) = ∫₀ᵗ rate, then Λ⁻¹(u) is a Poisson process of that rate (Çinlar 1975).
The rate is constant between edges, so Λ is piecewise linear and its inverse exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def unit_arrivals(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Return n arrivals of a Poisson process of rate 1."""
    return np.cumsum(rng.exponential(1.0, n))


def invert(
    unit: NDArray[np.float64], lengths_s: NDArray[np.float64], means: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Map unit arrivals to seconds over intervals of `lengths_s` that expect `means` requests each.

    The intervals must expect at least `unit[-1]` requests together.
    """
    return np.interp(unit, _edges(means), _edges(lengths_s))


def invert_periodic(
    unit: NDArray[np.float64], lengths_s: NDArray[np.float64], means: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Map unit arrivals to seconds, the intervals repeating for ever."""
    cycles, rest = np.divmod(unit, means.sum())
    return invert(rest, lengths_s, means) + cycles * float(lengths_s.sum())


def _edges(widths: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate(([0.0], np.cumsum(widths)))
