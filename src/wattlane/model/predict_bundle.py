"""What is uncertain about one deployment, as a handful of laws moved along directions.

Every uncertain quantity is moved (parameters along the roots of their covariance, the power factor of an unseen
architecture, loaded idle watts, the clock's prior), the log laws it gives are the columns of one matrix, and the
principal directions E_i of that matrix are kept. `laws` then holds the best law and law · exp(h·E_i) for each of them.
The time factor of an unseen architecture multiplies every time and energy alike and needs no law of its own.

Ranges of priors are crossed from end to end and divided by the ratio of their width to their standard deviation: a bend
inside the range counts in full.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from wattlane.model import iteration as it
from wattlane.model.clock import RANGES, ClockPrior
from wattlane.model.laws.phase import PARAMETERS, Case, law_vector
from wattlane.model.profile import Family, Profile, scaled

NEGLECTED = 1e-4  # directions below this share of the largest variance are left out
STEP = 0.3  # standard deviations a law is moved along a direction; its effect is divided by it
LADDER = 25  # clocks at which a capped deployment's law is kept


@dataclass(frozen=True, eq=False, slots=True)
class Bundle:
    """Laws of one deployment: `laws` (1 + directions, rungs, N): the best, then one moved along each direction.

    `time_sd` is the log sd of the factor on every time, which needs no law of its own.
    A deployment without a power cap has one rung; with one the rungs are ascending clocks (`clocks_hz`).
    """

    laws: NDArray[np.float64]
    clocks_hz: NDArray[np.float64]
    window_share: float
    window_tokens: float
    longest_tokens: float
    time_sd: float


@cache
def _root(family: Family) -> NDArray[np.float64]:
    """Return the columns of a root of the covariance of log parameters, empty ones left out.

    Their signs lead away from the ceiling of the shares of a peak.
    """
    values, vectors = np.linalg.eigh(family.covariance_log)
    kept = values > 1e-6 * values.max()
    root = vectors[:, kept] * np.sqrt(values[kept])
    shares = [name.startswith("eta_") for name in PARAMETERS]
    return root * np.where(root[shares].sum(axis=0) > 0.0, -1.0, 1.0)


def _pairs(profile: Profile, case: Case) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64], float]]:
    """Yield (law above, law below, their distance in standard deviations) for every uncertain quantity."""
    family = profile.family(case)
    best = family.parameters
    centre = np.log([best[name] for name in PARAMETERS])
    law = law_vector(best, case)
    for column in _root(family).T:
        values = np.exp(centre + column).tolist()
        yield law_vector(dict(zip(PARAMETERS, values, strict=True)), case), law, 1.0
    factor = float(np.exp(family.group_sd_power))
    yield scaled(law, 1.0, factor), scaled(law, 1.0, 1.0 / factor), 2.0
    lo, mode, hi = case.gpu.idle_loaded_w_lo, case.gpu.idle_loaded_w, case.gpu.idle_loaded_w_hi
    sd = np.sqrt((lo * lo + mode * mode + hi * hi - lo * mode - lo * hi - mode * hi) / 18.0)
    if sd > 0.0:
        ends = (law_vector(best, replace(case, idle_w=watts)) for watts in (hi, lo))
        yield (*ends, (hi - lo) / sd)
    if case.clock_ratio < 1.0:
        for field in fields(ClockPrior):
            low, high = (law_vector(best, case, replace(ClockPrior(), **{field.name: v})) for v in RANGES[field.name])
            yield high, low, np.sqrt(12.0)


def bundle(profile: Profile, case: Case, *, capped: bool = False) -> Bundle:
    """Return the laws of `case`: at its clock, or (capped) at `LADDER` clocks up to it."""
    top_hz = case.gpu.clock_max_hz if case.clock_hz is None else case.clock_hz
    clocks = np.linspace(case.gpu.clock_min_hz, top_hz, LADDER) if capped else np.array([top_hz])
    cases = [replace(case, clock_hz=float(hz)) for hz in clocks]
    best = np.array([profile.law(one) for one in cases])
    # the clock's prior does nothing at the maximum: that rung has fewer directions, and they come first
    moves = [list(_pairs(profile, one)) for one in cases]
    slopes = np.zeros((len(cases), it.N, max(map(len, moves))))
    best_known = best > 0.0
    best_known[:, it.IDLE_W] = False  # a busy replica's law does not ask what it draws when idle
    for rung, pairs in enumerate(moves):
        up, down, sds = (np.array(part) for part in zip(*pairs, strict=True))
        known = best_known[rung]
        slopes[rung, known, : len(pairs)] = (np.log(up[:, known] / down[:, known]) / sds[:, None]).T
    _, sizes, turned = np.linalg.svd(slopes.reshape(-1, slopes.shape[2]), full_matrices=False)
    kept = sizes**2 > NEGLECTED * (sizes[0] ** 2 if len(sizes) else 0.0)
    along = slopes @ turned[kept].T
    # towards less power, where a board that draws its limit is not clipped
    along *= np.where(along[:, [it.STATIC_W, it.BYTE_J, it.FLOP_J]].sum(axis=(0, 1)) > 0.0, -1.0, 1.0)
    laws = np.concatenate([best[None], best * np.exp(STEP * np.moveaxis(along, 2, 0))])
    m = case.model
    share = m.window_layers / m.attending_layers if m.window_tokens else 0.0
    return Bundle(
        laws,
        clocks,
        share,
        float(m.window_tokens),
        float(m.max_context_tokens or np.inf),
        profile.family(case).group_sd_time,
    )
