"""Latencies of requests that are done, from the log of runs: each token is in one run of consecutive iterations.

Gaps inside a run are differences of consecutive iteration ends and are counted for all requests at once; gaps between
two runs of a request (a preemption, a pause for a prompt) are counted one by one.
"""

from __future__ import annotations

import numpy as np

from wattlane.core.served import MANY_GAPS
from wattlane.model.jit import kernel
from wattlane.sim.engine.layout import FIRST, STEPS, WHO
from wattlane.sim.scoring import BINS, BINS_PER_DECADE, LOWEST_S, p99_meets


@kernel
def _bin(seconds: float) -> int:
    return min(int(BINS_PER_DECADE * np.log10(max(seconds, LOWEST_S) / LOWEST_S)), BINS - 1)


@kernel
def _stamps(runs: np.ndarray, begin: int, end: int, tokens: int, ends_s: np.ndarray) -> np.ndarray:
    """Return when each token of a request was produced, shape (tokens,)."""
    out = np.empty(tokens)
    at = 0
    for j in range(begin, end):
        for step in range(runs[j, STEPS]):
            out[at] = ends_s[runs[j, FIRST] + step]
            at += 1
    return out


@kernel
def score(
    runs: np.ndarray,
    ends_s: np.ndarray,
    served: np.ndarray,
    arrival_s: np.ndarray,
    ttft_s: float,
    tbt_s: float,
    gaps: np.ndarray,
    firsts: np.ndarray,
    wholes: np.ndarray,
) -> int:
    """Add the latencies of the requests in `served` to three histograms; return how many met both targets.

    Args:
        runs: (s, 4) rows of the log, by request and then by time.
        ends_s: (iterations,) ends of the iterations that the runs count.
        served: (n,) which requests are done and were not refused.
        arrival_s: (n,).
        ttft_s, tbt_s: the targets, judged as `wattlane.core.served` does.
        gaps, firsts, wholes: (BINS,) token gaps, times to first token and to last token.
    """
    m = ends_s.size
    over = np.zeros(m + 1, np.int64)  # over[i]: gaps above the target among iterations before i
    for i in range(1, m):
        over[i + 1] = over[i] + (1 if ends_s[i] - ends_s[i - 1] > tbt_s else 0)
    more = np.zeros(m + 1, np.int64)  # requests with a gap that ends in an iteration, as differences
    met, j = 0, 0
    while j < runs.shape[0]:
        begin, r = j, runs[j, WHO]
        bad = tokens = 0
        while j < runs.shape[0] and runs[j, WHO] == r:
            if served[r]:
                first, steps = runs[j, FIRST], runs[j, STEPS]
                if j > begin:
                    pause_s = ends_s[first] - ends_s[runs[j - 1, FIRST] + runs[j - 1, STEPS] - 1]
                    gaps[_bin(pause_s)] += 1
                    bad += 1 if pause_s > tbt_s else 0
                more[first + 1] += 1
                more[first + steps] -= 1
                bad += over[first + steps] - over[first + 1]
                tokens += steps
            j += 1
        if not served[r]:
            continue
        first_s = ends_s[runs[begin, FIRST]] - arrival_s[r]
        firsts[_bin(first_s)] += 1
        wholes[_bin(ends_s[runs[j - 1, FIRST] + runs[j - 1, STEPS] - 1] - arrival_s[r])] += 1
        if first_s <= ttft_s and (
            bad == 0
            or (tokens > MANY_GAPS and p99_meets(_stamps(runs, begin, j, tokens, ends_s), 0, tokens - 1, bad, tbt_s))
        ):
            met += 1
    together = 0
    for i in range(1, m):
        together += more[i]
        if together > 0:
            gaps[_bin(ends_s[i] - ends_s[i - 1])] += together
    return met
