"""At which clock an iteration runs, from what it would take at each clock of the grid, ascending.

    gap budget     = allow·TBT                    where somebody decodes: the iteration is a gap between two tokens
    prompt budget  = allow·p / need               where prompts are processed or wait
    need           = max_i (prompt tokens up to the first token of i) / (arrival_i + TTFT − now)

`need` is the rate, tokens a second, that every pending prompt asks for, first come first served, if the rest of the
queue went through at the rate of this iteration. `allow` is the share of a target that a predicted time may take: a
margin, or 1 / (1 + z·relative error) for a chance constraint.

`lowest_feasible` is EcoFreq of VoltanaLLM (arXiv 2509.04827): walk the grid upward to the first clock whose predicted
latency meets the target, the maximum if anything waits that cannot make it; throttLL'eM (arXiv 2408.05235) finds the
same clock by bisection. Published: up to 36.3 % less energy than a static 1410 MHz on A100s (VoltanaLLM), up to 43.8 %
less than Triton together with autoscaling (throttLL'eM). The rule takes the lowest clock for the cheapest one.

`least_net` is wattlane's: among the clocks that keep the budget the one of least net joules, joules − time_w·seconds.
`time_w` is what the time is worth that a slower iteration takes:

    time_w = q·rest + (1 − q)·C0/a,     q = x / (eˣ − 1),     x = mean number of requests that decode, rests included

with C0 and a the joules and seconds of an iteration that serves nobody, at the clock where their ratio is least. A
replica that would rest otherwise saves what it draws at rest (q → 1): running fast and resting is compared with running
slowly, and a clock below the bottom of the energy curve is not taken. A replica that is never done saves whole
iterations, since more requests have joined by the next one (q → 0). Derivation: with R tokens asked for a second and
Poisson arrivals, x = R·t, there are N = (1 − e^−x)/t iterations a second of t = a + β·x seconds, power above rest is
N·(C0 − rest·t) + R·C1, and its derivative by a is −N·time_w, for β = 0 or x large.

Where a change of clock takes time, a prompt that comes meets the clock that was chosen for decoding. `least_net` then
keeps the gap budget for an iteration that such a prompt joins, of the size of those of late (`guard`).
"""

from __future__ import annotations

import numpy as np


def prompt_budget_s(prompt_tokens: float, need_per_s: float, waits: bool, allow: float) -> float:
    """Return the seconds an iteration over `prompt_tokens` may take; 0 where prompts wait and none are processed."""
    if prompt_tokens == 0.0:
        return 0.0 if waits else np.inf
    return allow * prompt_tokens / need_per_s if need_per_s > 0.0 else np.inf


def lowest_feasible(seconds: np.ndarray, budget_s: float) -> int:
    """Return the first clock at which the iteration, `seconds` (C,) at each, keeps the budget; else the highest."""
    for c in range(seconds.size):
        if seconds[c] <= budget_s:
            return c
    return seconds.size - 1


def crowd(before: float, decoding: float, seconds: float, rested_s: float, memory_s: float) -> float:
    """Return the mean number of requests that decode, after an iteration with `decoding` of them and a rest."""
    mean = before + min(1.0, seconds / memory_s) * (decoding - before)
    return mean - min(1.0, rested_s / memory_s) * mean


def time_w(mean: float, empty_w: float, rest_w: float) -> float:
    """Return what a second is worth to a replica where `mean` requests decode and empty iterations draw `empty_w`."""
    rests = mean / np.expm1(mean) if mean > 0.0 else 1.0
    return rests * rest_w + (1.0 - rests) * max(empty_w, rest_w)


def guard(before_tokens: float, prompt_tokens: float, passed_s: float, memory_s: float) -> float:
    """Return the prompt tokens that may join an iteration soon: the most of late, forgotten over `memory_s`."""
    return max(prompt_tokens, (1.0 - min(1.0, passed_s / memory_s)) * before_tokens)


def least_net(
    seconds: np.ndarray, joules: np.ndarray, joined_s: np.ndarray, time_w: float, gap_s: float, prompt_s: float
) -> int:
    """Return the clock of least joules − time_w·seconds that keeps both budgets; else the highest. Arrays are (C,).

    `joined_s` is what the iteration would take if as many prompt tokens as of late joined it before the clock could be
    raised; `seconds` where clocks change at once.
    """
    best, least = seconds.size - 1, np.inf
    for c in range(seconds.size):
        net_j = joules[c] - time_w * seconds[c]
        if joined_s[c] <= gap_s and seconds[c] <= prompt_s and net_j < least:
            best, least = c, net_j
    return best
