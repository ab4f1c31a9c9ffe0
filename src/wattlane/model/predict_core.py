"""Many predictions at once: one kernel over rows, a handful of laws for each distinct deployment.

Per row and quantity f, with the directions E_i of `wattlane.model.predict_bundle`, by the delta method on logarithms,

    δ_i = log(f(law · exp(h·E_i)) / f(law)) / h,    half-width of log f = z·√(Σ δ_i²)

so that an interval is never negative. An empty prompt length is marginalised over a prior: the value is the mean, and
the spread over the prior adds to the variance. Under a power cap every law, moved or not, runs at the highest clock of
its ladder at which it keeps the cap.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wattlane.model import iteration as it
from wattlane.model.jit import kernel
from wattlane.model.predict_bundle import STEP, Bundle, work
from wattlane.model.steady import mean_iteration

Z95 = 1.959963984540054
QUANTITIES = 7  # in the order of `wattlane.model.predict.UNITS`
BISECTIONS = 22  # of a ladder of clocks: below 0.01 MHz
PER_STEP = 1.0 / STEP

# Mean prompt of a workload nobody described: lognormal. A prior: it holds chat (about 250 tokens in the leaderboard's
# chat task, fitted) and the Azure conversation and code traces (means of about 1,150 and 2,050 tokens, Azure public
# dataset 2023) within one standard deviation and a half.
PROMPT_TOKENS, PROMPT_LOG_SD = 600.0, 0.9
PROMPT_SOURCE = (
    f"prompt lengths marginalised over a prior: lognormal, median {PROMPT_TOKENS:.0f} tokens, log sd {PROMPT_LOG_SD}"
)


class Rows(NamedTuple):
    """Predicted quantities of n rows, each (QUANTITIES, n), NaN where no clock keeps the cap; clock of the best law."""

    mean: NDArray[np.float64]
    lo: NDArray[np.float64]
    hi: NDArray[np.float64]
    clock_hz: NDArray[np.float64]


@cache
def prompts(nodes: int = 5) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return prompt lengths and their weights: Gauss-Hermite nodes of the prior."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    return PROMPT_TOKENS * np.exp(PROMPT_LOG_SD * points), weights / weights.sum()


def evaluate(
    bundles: Sequence[Bundle],
    index: NDArray[np.int64],
    batch: NDArray[np.float64],
    input_tokens: NDArray[np.float64],
    output_tokens: NDArray[np.float64],
    power_cap_w: NDArray[np.float64],
    z: float = Z95,
) -> Rows:
    """Return the quantities of n rows with their intervals.

    Args:
        bundles: one a distinct deployment.
        index: which bundle a row asks, (n,); a negative one leaves the row NaN.
        batch: sequences of one replica, (n,).
        input_tokens: NaN where the prompt is marginalised over the prior, (n,).
        output_tokens: (n,).
        power_cap_w: of one replica, inf without a cap, (n,).
        z: standard deviations to either side.
    """
    sizes = np.array([b.laws.shape[0] * b.laws.shape[1] for b in bundles], dtype=np.int64)
    flat = np.concatenate([b.laws.reshape(-1, it.N) for b in bundles])
    shape = np.array([(b.laws.shape[0], b.laws.shape[1]) for b in bundles], dtype=np.int64)
    facts = np.array(
        [(b.window_share, b.window_tokens, b.longest_tokens, b.time_sd, *b.within, b.stages) for b in bundles]
    )
    out = np.full((3, QUANTITIES, len(index)), np.nan)
    position = np.full(len(index), np.nan)
    nodes, weights = prompts()
    start = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    _evaluate(
        flat,
        start,
        shape,
        facts,
        nodes,
        weights,
        z,
        np.ascontiguousarray(index, dtype=np.int64),
        np.ascontiguousarray(batch),
        np.ascontiguousarray(input_tokens),
        np.ascontiguousarray(output_tokens),
        np.ascontiguousarray(power_cap_w),
        out,
        position,
    )
    return Rows(out[0], out[1], out[2], _clock_at(bundles, index, position))


def _clock_at(
    bundles: Sequence[Bundle], index: NDArray[np.int64], position: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return hertz from the place on the ladder of a row's bundle, NaN where there is none."""
    clocks = np.full(len(index), np.nan)
    low = np.array([b.clocks_hz[0] for b in bundles])
    step = np.array([b.clocks_hz[1] - b.clocks_hz[0] if len(b.clocks_hz) > 1 else 0.0 for b in bundles])
    known = ~np.isnan(position)
    clocks[known] = low[index[known]] + step[index[known]] * position[known]
    return clocks


@kernel
def _context(share: float, window: float, context: float) -> float:
    """Return the context a layer reads on average; `share` of the layers stop at `window` tokens."""
    return context - share * max(context - window, 0.0)


@kernel
def _blend(ladder: np.ndarray, position: float, law: np.ndarray) -> None:
    """Write the law at a place between two rungs into `law`."""
    low = max(min(int(position), len(ladder) - 2), 0)
    high = min(low + 1, len(ladder) - 1)
    share = position - low
    for j in range(len(law)):
        law[j] = ladder[low, j] + share * (ladder[high, j] - ladder[low, j])


@kernel
def _under_cap(
    ladder: np.ndarray,
    cap: float,
    batch: float,
    prompt: float,
    output: float,
    context: float,
    law: np.ndarray,
) -> float:
    """Write the law at the highest clock that keeps the cap into `law`; return its place on the ladder, −1 if none."""
    low, high = 0.0, float(len(ladder) - 1)
    for step in range(BISECTIONS):
        # the top, then the bottom, then the middle of what is left
        place = high if step == 0 else (0.0 if step == 1 else 0.5 * (low + high))
        _blend(ladder, place, law)
        t, e, _, _ = mean_iteration(law, batch, prompt, output, context)
        fits = e <= cap * t
        if step == 0 and fits:
            return place
        if step == 1 and not fits:
            return -1.0
        if fits:
            low = place
        elif step > 0:
            high = place
    _blend(ladder, low, law)
    return low


@kernel
def _placed(
    laws: np.ndarray,
    base: int,
    rungs: int,
    cap: float,
    stages: float,
    batch: float,
    prompt: float,
    output: float,
    context: float,
    law: np.ndarray,
) -> tuple[float, float, float, float, float, float]:
    """Return the place on the ladder and what `work` returns there."""
    place = _under_cap(laws[base : base + rungs], cap, max(batch, stages), prompt, output, context, law)
    t, e, decode_j, prefill_j, ttft_s = work(law, stages, batch, prompt, output, context)
    return place, t, e, decode_j, prefill_j, ttft_s


@kernel
def _mean(
    laws: np.ndarray,
    base: int,
    rungs: int,
    cap: float,
    stages: float,
    batch: float,
    prompts_: np.ndarray,
    weights: np.ndarray,
    output: float,
    share: float,
    window: float,
    law: np.ndarray,
) -> tuple[float, float, float, float, float, float]:
    """Return what `_placed` does over prompts with weights: the lowest place, the means of the rest."""
    lowest, t, e, d, p, first = float(rungs), 0.0, 0.0, 0.0, 0.0, 0.0
    for node in range(len(prompts_)):
        context = _context(share, window, prompts_[node] + output / 2.0)
        found = _placed(laws, base, rungs, cap, stages, batch, prompts_[node], output, context, law)
        w = weights[node]
        lowest = min(lowest, found[0])
        t += w * found[1]
        e += w * found[2]
        d += w * found[3]
        p += w * found[4] / prompts_[node]
        first += w * found[5]
    return lowest, t, e, d, p, first


@kernel
def _add(variance: np.ndarray, t: float, e: float, d: float, p: float, first: float) -> None:
    """Add the squares of one direction's logarithms, in the order of `wattlane.model.predict.UNITS`."""
    variance[0] += (e - t) * (e - t)
    variance[1] += t * t
    variance[2] += first * first
    variance[3] += t * t
    variance[4] += e * e
    variance[5] += p * p
    variance[6] += d * d


@kernel
def _slope(ratio: float) -> float:
    """Return log(ratio) per standard deviation, by its series: a step moves no quantity by more than half."""
    r = ratio - 1.0
    return r * (1.0 - r * (0.5 - r * (1.0 / 3.0 - 0.25 * r))) * PER_STEP


@kernel
def _plain_row(
    laws: np.ndarray,
    count: int,
    stages: float,
    batch: float,
    prompt: float,
    output: float,
    context: float,
    found: np.ndarray,
    variance: np.ndarray,
) -> float:
    """Write `work` of the best law into `found` and the variances of the logarithms; return its place, 0."""
    per_t = per_e = per_d = per_p = per_first = 1.0
    for i in range(count):
        t, e, d, p, first = work(laws[i], stages, batch, prompt, output, context)
        if i == 0:
            per_t, per_e, per_d, per_p, per_first = 1.0 / t, 1.0 / e, 1.0 / d, 1.0 / p, 1.0 / first
            found[0], found[1], found[2], found[3], found[4] = t, e, d, p / prompt, first
            continue
        slopes = (_slope(t * per_t), _slope(e * per_e), _slope(d * per_d), _slope(p * per_p), _slope(first * per_first))
        _add(variance, slopes[0], slopes[1], slopes[2], slopes[3], slopes[4])
    return 0.0


@kernel
def _general_row(
    laws: np.ndarray,
    count: int,
    cap: float,
    stages: float,
    batch: float,
    prompts_: np.ndarray,
    weights: np.ndarray,
    output: float,
    share: float,
    window: float,
    found: np.ndarray,
    variance: np.ndarray,
) -> float:
    """Do what `_plain_row` does with several prompts or a ladder of clocks; return −1 if no clock keeps the cap."""
    rungs, law, certain, place = len(laws) // count, np.empty(laws.shape[1]), np.ones(1), 0.0
    nodes = len(prompts_)
    # the best law over all prompts, the best law at each prompt, the moved laws over all prompts
    for which in range(count + nodes):
        one = 0 < which <= nodes
        node = which - 1 if one else 0
        lengths = prompts_[node : node + 1] if one else prompts_
        shares = certain if one else weights
        base = max(which - nodes, 0) * rungs
        at = _mean(laws, base, rungs, cap, stages, batch, lengths, shares, output, share, window, law)
        if which == 0:
            if at[0] < 0.0:
                return at[0]
            place, found[0], found[1], found[2], found[3], found[4] = at
        elif one:
            root = np.sqrt(weights[node])
            _add(
                variance,
                root * (at[1] / found[0] - 1.0),
                root * (at[2] / found[1] - 1.0),
                root * (at[3] / found[2] - 1.0),
                root * (at[4] / found[3] - 1.0),
                root * (at[5] / found[4] - 1.0),
            )
        else:
            _add(
                variance,
                _slope(at[1] / found[0]),
                _slope(at[2] / found[1]),
                _slope(at[3] / found[2]),
                _slope(at[4] / found[3]),
                _slope(at[5] / found[4]),
            )
    return place


@kernel
def _evaluate(
    laws: np.ndarray,
    start: np.ndarray,
    shape: np.ndarray,
    facts: np.ndarray,
    nodes: np.ndarray,
    weights: np.ndarray,
    z: float,
    index: np.ndarray,
    batch: np.ndarray,
    prompt: np.ndarray,
    output: np.ndarray,
    cap: np.ndarray,
    out: np.ndarray,
    position: np.ndarray,
) -> None:
    """Fill `out` (mean, lo, hi; quantity; row) and `position`, the place of the best law on its ladder."""
    best, variance, found = np.empty(QUANTITIES), np.empty(QUANTITIES), np.empty(5)
    lengths, certain, spread = np.empty(1), np.ones(1), np.empty(len(nodes))
    for row in range(len(index)):
        u = index[row]
        if u < 0:
            continue
        base, count, rungs, share, window = start[u], shape[u, 0], shape[u, 1], facts[u, 0], facts[u, 1]
        b, i, o = batch[row], prompt[row], output[row]
        known = not np.isnan(i)
        # an unseen architecture's time and energy are off by one factor, whatever the work; a configuration by more
        variance[1:4] = facts[u, 3] * facts[u, 3] + facts[u, 5] * facts[u, 5]
        variance[4:] = facts[u, 3] * facts[u, 3] + facts[u, 6] * facts[u, 6]
        variance[0] = facts[u, 4] * facts[u, 4]
        own = laws[base : base + count * rungs]
        if known and rungs == 1:
            place = _plain_row(own, count, facts[u, 7], b, i, o, _context(share, window, i + o / 2.0), found, variance)
        else:
            lengths[0] = i
            for node in range(len(nodes)):
                spread[node] = max(min(nodes[node], facts[u, 2] - o), 1.0)
            given, shares = (lengths, certain) if known else (spread, weights)
            place = _general_row(own, count, cap[row], facts[u, 7], b, given, shares, o, share, window, found, variance)
        if place < 0.0:
            continue
        position[row] = place
        t, e = found[0], found[1]
        best[0], best[1], best[2], best[3] = e / t, t, found[4], b / t
        best[4], best[5], best[6] = e / b, found[3] * o / b, found[2] / b
        for q in range(QUANTITIES):
            wide = np.exp(z * np.sqrt(variance[q]))
            out[0, q, row] = best[q]
            out[1, q, row] = best[q] / wide
            out[2, q, row] = best[q] * wide
