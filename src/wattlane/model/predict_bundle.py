"""What is uncertain about one deployment, as a handful of laws moved along directions.

Every uncertain quantity is moved (parameters along the roots of their covariance, the power factor of an unseen
architecture, loaded idle watts, the clock's prior), which gives the columns of a matrix of log laws. What each column
does to the logarithms of times and joules at a few questions (`ASKED`) is found, and the directions E_i that explain
nearly all of that are kept. `laws` then holds the best law and law · exp(h·E_i) for each of them. The time factor of an
unseen architecture multiplies every time and energy alike and needs no law of its own.

Ranges of priors are crossed from end to end and divided by the ratio of their width to their standard deviation: a bend
inside the range counts in full.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from wattlane.model import iteration as it
from wattlane.model.clock import RANGES, ClockPrior, clock_scale
from wattlane.model.jit import kernel
from wattlane.model.laws.phase import PARAMETERS, Case, geometry, law_rows, taken
from wattlane.model.profile import Family, Profile, scaled
from wattlane.model.steady import mean_iteration

NEGLECTED = 1e-3  # directions below this share of the variance of what is predicted are left out
# Where effects are compared: batch (a GPU), prompt, output.
ASKED = np.array(
    [(1, 128, 128), (1, 2048, 64), (16, 512, 256), (64, 1024, 256), (64, 2048, 32), (256, 200, 1000)], float
)
STEP = 0.3  # standard deviations a law is moved along a direction; its effect is divided by it
TINY = 1e-300
LADDER = 25  # clocks at which a capped deployment's law is kept


@dataclass(frozen=True, eq=False, slots=True)
class Bundle:
    """Laws of one deployment: `laws` (1 + directions, rungs, N): the best, then one moved along each direction.

    `time_sd` is the log sd of the factor on every time, which needs no law of its own; `within` are those of one
    configuration's watts, seconds and joules around its architecture. `stages` are those of the pipeline.
    A deployment without a power cap has one rung; with one the rungs are ascending clocks (`clocks_hz`).
    """

    laws: NDArray[np.float64]
    clocks_hz: NDArray[np.float64]
    window_share: float
    window_tokens: float
    longest_tokens: float
    time_sd: float
    within: tuple[float, float, float]
    stages: float


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


def _slopes(profile: Profile, case: Case) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the best law, (N,), and how log law moves with one standard deviation of each uncertain quantity, (m, N).

    Parameters first, then the power factor of an unseen architecture, idle watts, and (below the highest clock) the
    clock's prior.
    """
    family = profile.family(case)
    root, size = _root(family), len(PARAMETERS)
    priors = [
        replace(ClockPrior(), **{one.name: end})
        for one in fields(ClockPrior)
        for end in (RANGES[one.name] if case.clock_ratio < 1.0 else ())
    ]
    moved = root.shape[1]
    rows = 1 + moved + 2 + len(priors)
    centre = np.log([family.parameters[name] for name in PARAMETERS])
    steps = np.zeros((rows, size))
    steps[1 : 1 + moved] = root.T
    values = np.exp(centre + steps)
    g = taken(geometry([case]), np.zeros(rows, dtype=np.intp))
    idle, ends = g.idle_w.copy(), (case.gpu.idle_loaded_w_hi, case.gpu.idle_loaded_w_lo)
    idle[1 + moved : 3 + moved] = ends
    scales = [clock_scale(case.clock_ratio, prior) for prior in priors]
    clock = {name: getattr(g, name).copy() for name in ("compute", "bandwidth", "static", "byte", "flop")}
    for name, column in clock.items():
        column[3 + moved :] = [getattr(scale, name) for scale in scales]
    g = replace(g, idle_w=idle, **clock)
    laws = law_rows({name: values[:, j] for j, name in enumerate(PARAMETERS)}, g)
    best, factor = laws[0], float(np.exp(family.group_sd_power))
    known = best > 0.0
    known[it.IDLE_W] = case.pipeline_parallel > 1  # only a stage that waits asks what a GPU draws when idle
    logs = np.zeros_like(laws)
    logs[:, known] = np.log(np.maximum(laws[:, known], TINY))
    low, mode, high = case.gpu.idle_loaded_w_lo, case.gpu.idle_loaded_w, case.gpu.idle_loaded_w_hi
    spread = np.sqrt((low * low + mode * mode + high * high - low * mode - low * high - mode * high) / 18.0)
    hotter = np.zeros(len(best))
    hotter[known] = np.log(scaled(best, 1.0, factor)[known] / best[known])
    found = [*(logs[1 : 1 + moved] - logs[0]), hotter]
    if high > low:
        found.append((logs[1 + moved] - logs[2 + moved]) * spread / (high - low))
    ranges = logs[3 + moved :]
    found += [(above - below) / np.sqrt(12.0) for below, above in zip(ranges[::2], ranges[1::2], strict=True)]
    return best, np.array(found)


@kernel
def waiting_share(batch: float, stages: float) -> float:
    """Return the share of its time that a stage of a pipeline waits: 1 − b/s with b < s sequences, else 0."""
    return max(0.0, 1.0 - batch / stages)


@kernel
def work(
    law: np.ndarray, stages: float, batch: float, prompt: float, output: float, context: float
) -> tuple[float, float, float, float, float]:
    """Return (seconds, joules, decode joules, prefill joules) of a mean iteration, and seconds of a lone prefill.

    A pipeline of s stages works on s parts of the batch at once. With b < s sequences a token takes the time it takes
    with s, and a stage that waits draws the idle watts of a loaded GPU. A lone prompt passes stage by stage: s times
    the work of a stage.
    """
    t, e, decode_j, prefill_j = mean_iteration(law, max(batch, stages), prompt, output, context)
    waiting = waiting_share(batch, stages)
    if waiting > 0.0:
        decode_j, prefill_j = decode_j + waiting * (law[it.IDLE_W] * t - decode_j), prefill_j * (1.0 - waiting)
        e = decode_j + prefill_j
    ttft_s, _ = it.cost(law, stages * prompt, stages * prompt * prompt / 2.0, 0.0, 0.0)
    return t, e, decode_j, prefill_j, ttft_s


@kernel
def _work_rows(laws: np.ndarray, stages: float, asked: np.ndarray, out: np.ndarray) -> None:
    """Write `work` of every law at every question into `out`, (laws, questions, 5)."""
    for i in range(len(laws)):
        for j in range(len(asked)):
            context = asked[j, 1] + asked[j, 2] / 2.0
            found = work(laws[i], stages, asked[j, 0], asked[j, 1], asked[j, 2], context)
            for q in range(5):
                out[i, j, q] = found[q]


def _effects(law: NDArray[np.float64], slopes: NDArray[np.float64], case: Case) -> NDArray[np.float64]:
    """Return how the logarithms of `work` at the questions of `ASKED` move with each column of `slopes`, (rows, m)."""
    asked = ASKED * np.array([case.num_gpus, 1.0, 1.0])
    laws = np.ascontiguousarray(np.vstack([law[None], law * np.exp(STEP * slopes.T)]))
    found = np.empty((len(laws), len(asked), 5))
    _work_rows(laws, float(case.pipeline_parallel), asked, found)
    logs = np.log(found).reshape(len(laws), -1)
    return np.asarray(((logs[1:] - logs[0]) / STEP).T)


def bundle(profile: Profile, case: Case, *, capped: bool = False) -> Bundle:
    """Return the laws of `case`: at its clock, or (capped) at `LADDER` clocks up to it."""
    top_hz = case.gpu.clock_max_hz if case.clock_hz is None else case.clock_hz
    clocks = np.linspace(case.gpu.clock_min_hz, top_hz, LADDER) if capped else np.array([top_hz])
    moves = [_slopes(profile, replace(case, clock_hz=float(hz))) for hz in clocks]
    best = np.array([law for law, _ in moves])
    # the clock's prior does nothing at the maximum: that rung has fewer directions, and they come first
    slopes = np.zeros((len(clocks), it.N, max(len(found) for _, found in moves)))
    for rung, (_, found) in enumerate(moves):
        slopes[rung, :, : len(found)] = found.T
    effect = np.concatenate([_effects(law, slopes[rung], case) for rung, law in enumerate(best)])
    _, sizes, turned = np.linalg.svd(effect, full_matrices=False)
    kept = sizes**2 > NEGLECTED * np.sum(sizes**2)
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
        profile.family(case).within,
        float(case.pipeline_parallel),
    )
