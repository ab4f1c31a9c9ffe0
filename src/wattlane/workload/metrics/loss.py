"""What a workload rebuilt from metrics cannot know, in numbers.

Input and output lengths are joined at random within a step. The true joint is unknown; what it does to the energy goes
with Σ input × output (the KV cache read in decode), which lies between the joint where long prompts have the shortest
outputs and the one where they have the longest (Fréchet 1951).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from wattlane.workload.metrics.histograms import TokenHistory
from wattlane.workload.metrics.tokens import Tokens


@dataclass(frozen=True, slots=True)
class TokenLoss:
    """One side, input or output.

    `mean_lo_tokens … mean_hi_tokens`: the mean if every length lay on the lower or upper bound of its bucket; exact if
    `sum_known`. `entropy_bits`: mean log₂ of the lengths a bucket holds. `relative_width`: mean of (hi − lo) /
    (hi + lo). `overflow_share`: requests in the bucket without an upper bound, taken as at most `cap_tokens`.
    `unmatched_tokens`: recorded sum minus the workload's tokens, 0 unless the buckets do not allow the sum.
    """

    mean_tokens: float
    mean_lo_tokens: float
    mean_hi_tokens: float
    entropy_bits: float
    relative_width: float
    overflow_share: float
    cap_tokens: int
    sum_known: bool
    unmatched_tokens: int | None


@dataclass(frozen=True, slots=True)
class InformationLoss:
    """The numbers, and in words what is assumed.

    `product_lo, product_hi`: Σ input × output over its value here, at its least and greatest. `dispersion`: variance
    over mean of the requests of a step, 1 for a Poisson process; what happens within a step is assumed to be Poisson.
    `gap_steps`: missing samples, filled by a straight line. `born_requests`: first values of servers that appeared.
    """

    step_s: float
    steps: int
    requests: int
    input: TokenLoss
    output: TokenLoss
    product_lo: float
    product_hi: float
    dispersion: float
    requests_per_step: float
    restarts: int
    gap_steps: int
    born_requests: float
    assumptions: tuple[str, ...] = field(
        default=(
            "arrivals within a step are Poisson; a request counts in the step it finished, so arrivals are late by "
            "its latency",
            "input and output lengths are independent within a step",
            "no prefix is cached: metrics do not say which tokens requests share",
        )
    )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return {**asdict(self), "assumptions": list(self.assumptions)}


def token_loss(tokens: Tokens, buckets: Tokens, history: TokenHistory) -> TokenLoss:
    """Return what the buckets of one side leave open."""
    lo, hi = history.lo_tokens[buckets], history.hi_tokens[buckets]
    known = history.sum_tokens is not None
    recorded = 0.0 if history.sum_tokens is None else float(history.sum_tokens.sum())
    return TokenLoss(
        mean_tokens=float(tokens.mean()),
        mean_lo_tokens=float(lo.mean()),
        mean_hi_tokens=float(hi.mean()),
        entropy_bits=float(np.log2(hi - lo + 1.0).mean()),
        relative_width=float(((hi - lo) / (hi + lo)).mean()),
        overflow_share=float((buckets == len(history.hi_tokens) - 1).mean()),
        cap_tokens=int(history.hi_tokens[-1]),
        sum_known=known,
        unmatched_tokens=int(np.floor(recorded + 0.5)) - int(tokens.sum()) if known else None,
    )


def product_range(inputs: Tokens, outputs: Tokens, step: Tokens) -> tuple[float, float]:
    """Return the least and greatest Σ input × output that the lengths of each step allow, over the value here."""
    here = float(inputs @ outputs.astype(np.float64))
    rising = inputs[np.lexsort((inputs, step))]
    with_rising = outputs[np.lexsort((outputs, step))].astype(np.float64)
    with_falling = outputs[np.lexsort((-outputs, step))].astype(np.float64)
    return float(rising @ with_falling) / here, float(rising @ with_rising) / here
