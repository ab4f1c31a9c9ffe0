"""What an ML.ENERGY v3 run did inside its measuring window, which is not what steady serving does.

The benchmark sends N requests at once to an engine of at most B sequences. Energy and tokens are counted from the
moment B requests have given a first token until N − B have ended: each of the B slots has then ended x = (N − B)/B
requests on average. Where x is small, contexts are still young and prompts come in more slowly than at rest. Answer
lengths vary; taken as the sum of two exponential times (Erlang, coefficient of variation 0.71), with the mean length as
unit, slots that all began at 0 have ended m(t) = t − (1 − e⁻⁴ᵗ)/4 requests each at t, and the request in a slot has
come to the age a(t) = 3/4 − e⁻²ᵗ + e⁻⁴ᵗ/4, 3/4 at rest. The window ends at T with m(T) = x. (Renewal theory: Cox 1962,
chapter 4.)

N is U distinct prompts sent `repeats` times over, in order. The engine keeps prompts (prefix caching is vLLM's
default), so that a prompt seen before the window, or again inside it, is not computed again: of N − B prompts U − B are
new.

Counts are those of the benchmark's sweep files (ml-energy/benchmark, Apache-2.0; read 2026-11-28), as most of them have
them. Prompts of code completion are taken as computed: they are long, and nothing tells what the cache still held.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Distinct prompts of a task, and (highest max_num_seqs, times they are sent).
PROMPTS = {"lm-arena-chat": 1024, "gpqa": 198, "sourcegraph-fim": 1024}
REPEATS = {
    "lm-arena-chat": ((512, 1), (1024, 2), (2048, 3), (3072, 4), (4096, 6)),
    "gpqa": ((128, 1), (256, 2), (512, 3), (768, 5), (1024, 6), (1536, 9), (2048, 12), (4096, 21)),
    "sourcegraph-fim": ((256, 1), (512, 2), (768, 3), (1024, 4), (1536, 6)),
}
COMPUTED_AGAIN = frozenset({"sourcegraph-fim"})
ROUNDS = 200  # of the fixed point for T, whose slope is at most 1 − e⁻⁴ᵗ


class Shares(NamedTuple):
    """Means over the window, against steady serving: age of running requests, and tokens prefilled per output token."""

    context: float
    prompt: float


STEADY = Shares(1.0, 1.0)


def window_length(ended: float) -> float:
    """Return T, in mean answer lengths, by which slots that began together have each ended `ended` requests."""
    t = ended + 0.25
    for _ in range(ROUNDS):
        t = ended + 0.25 * float(-np.expm1(-4.0 * t))
    return t


def mean_age(t: float) -> float:
    """Return the mean age of running requests from 0 to `t`, as a share of that at rest."""
    young = -np.expm1(-2.0 * t) / 2.0 + np.expm1(-4.0 * t) / 16.0
    return float(1.0 - young / (0.75 * t))


def shares(task: str, max_num_seqs: int) -> Shares:
    """Return what the window of a run saw; `STEADY` for a task or a size that no sweep file names."""
    repeats = next((times for most, times in REPEATS.get(task, ()) if max_num_seqs <= most), None)
    if repeats is None:
        return STEADY
    sent = PROMPTS[task] * repeats
    after = sent - max_num_seqs
    length = window_length(after / max_num_seqs)
    new = 1.0 if task in COMPUTED_AGAIN else max(0, PROMPTS[task] - max_num_seqs) / after
    return Shares(mean_age(length), new * after / max_num_seqs / length)
