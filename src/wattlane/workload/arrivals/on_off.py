"""On/off: Poisson bursts. Periods of a higher and a lower rate alternate, starting with on.

`rate_rps` is the mean over time: on_rate = (rate (on + off) − off_rate off) / on. Period lengths are gamma with mean
`on_s`, `off_s` and CV `period_cv`: 1 (exponential) is the Markov-modulated Poisson process, 0 is fixed lengths.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.workload.arrivals.inversion import invert, unit_arrivals
from wattlane.workload.spec import Kind, Param, above_zero


def on_off(
    rng: np.random.Generator,
    n: int,
    *,
    rate_rps: float,
    on_s: float,
    off_s: float,
    off_rate_rps: float = 0.0,
    period_cv: float = 1.0,
) -> NDArray[np.float64]:
    """Return n arrivals, seconds.

    Raises:
        InputError: a rate or a length is not above 0, `off_rate_rps` is above the mean, or `period_cv` is below 0.
    """
    above_zero("arrival kind=on_off", rate_rps=rate_rps, on_s=on_s, off_s=off_s)
    if not 0 <= off_rate_rps <= rate_rps:
        raise InputError(f"arrival kind=on_off: off_rate_rps is {off_rate_rps}; expected 0 to rate_rps, {rate_rps}")
    if not period_cv >= 0:
        raise InputError(f"arrival kind=on_off: period_cv is {period_cv}; expected at least 0")
    on_rate_rps = (rate_rps * (on_s + off_s) - off_rate_rps * off_s) / on_s
    unit = unit_arrivals(rng, n)
    block = int(unit[-1] / (rate_rps * (on_s + off_s)) * 1.1) + 16
    blocks_s: list[NDArray[np.float64]] = []
    expected = 0.0
    while expected <= unit[-1]:
        periods_s = np.stack([_periods(rng, block, on_s, period_cv), _periods(rng, block, off_s, period_cv)], axis=1)
        blocks_s.append(periods_s)
        expected += float((periods_s @ np.array([on_rate_rps, off_rate_rps])).sum())
    lengths_s = np.concatenate(blocks_s)
    return invert(unit, lengths_s.ravel(), (lengths_s * np.array([on_rate_rps, off_rate_rps])).ravel())


def _periods(rng: np.random.Generator, count: int, mean_s: float, cv: float) -> NDArray[np.float64]:
    # the square of a smaller cv may be 0; lengths within a millionth of each other are fixed ones
    return rng.gamma(1 / cv**2, mean_s * cv**2, count) if cv > 1e-6 else np.full(count, mean_s)


KIND = Kind(
    "on_off",
    on_off,
    "Poisson bursts: periods of a high and a low rate alternate",
    (
        Param("rate_rps", "requests per second above 0, the mean over on and off"),
        Param("on_s", "mean length of an on period, seconds above 0"),
        Param("off_s", "mean length of an off period, seconds above 0"),
        Param("off_rate_rps", "requests per second in an off period, 0 to rate_rps", required=False, default=0.0),
        Param("period_cv", "CV of the period lengths: 1 exponential, 0 fixed", required=False, default=1.0),
    ),
)
