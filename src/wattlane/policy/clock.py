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

`least_net` is wattlane's: among the clocks that keep the budget the one of least net joules, those above what the
replica would draw at rest for the same time. Running fast and resting is thereby compared with running slowly; a clock
below the bottom of the energy curve is not taken.
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


def least_net(seconds: np.ndarray, joules: np.ndarray, rest_w: float, budget_s: float) -> int:
    """Return the clock of least joules − rest_w·seconds, (C,) each, that keeps the budget; else the highest."""
    best, least = seconds.size - 1, np.inf
    for c in range(seconds.size):
        net_j = joules[c] - rest_w * seconds[c]
        if seconds[c] <= budget_s and net_j < least:
            best, least = c, net_j
    return best
