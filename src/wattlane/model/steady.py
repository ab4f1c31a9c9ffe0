"""Steady decoding at a fixed number of sequences under a phase law.

Batch b with outputs of length L: b/L requests finish and as many prompts are prefilled per iteration, so

    E[t] = t(D=b, K=b·context) + b/L·(t with a prompt − t without),   and alike for the joules; power is their ratio.

Where more than one prompt comes in per iteration they are prefilled together. Prefill is charged what a prompt adds
to a running batch: decode + prefill closes to the whole.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wattlane.core.facts.models import Model
from wattlane.model import iteration as it
from wattlane.model.jit import kernel


class Steady(NamedTuple):
    """Mean iteration of steady serving: seconds and joules, and the joules of its decode part and its prefill part."""

    iteration_s: float
    iteration_j: float
    decode_j: float
    prefill_j: float

    @property
    def power_w(self) -> float:
        """Mean watts of the replica."""
        return self.iteration_j / self.iteration_s


def effective_context(model: Model, context_tokens: float) -> float:
    """Return the context an attending layer reads on average: sliding-window layers stop at their window."""
    if model.window_layers == 0 or model.window_tokens == 0:
        return context_tokens
    full = (model.attending_layers - model.window_layers) * context_tokens
    return (full + model.window_layers * min(context_tokens, model.window_tokens)) / model.attending_layers


def steady(law: NDArray[np.float64], batch: float, input_tokens: float, output_tokens: float, context: float) -> Steady:
    """Return the mean iteration at `batch` running sequences whose layers read `context` tokens on average."""
    return Steady(*mean_iteration(law, batch, input_tokens, output_tokens, context))


@kernel
def mean_iteration(
    law: np.ndarray, batch: float, input_tokens: float, output_tokens: float, context: float
) -> tuple[float, float, float, float]:
    """Return the fields of `Steady` in order."""
    k = batch * context
    t, e = it.cost(law, 0.0, 0.0, batch, k)
    finishing = batch / output_tokens
    lump = input_tokens * max(finishing, 1.0)
    t_mixed, e_mixed = it.cost(law, lump, lump * input_tokens / 2, batch, k)
    share = min(finishing, 1.0)
    prefill_j = share * (e_mixed - e)
    return t + share * (t_mixed - t), e + prefill_j, e, prefill_j


@kernel
def _mean_iterations(laws: np.ndarray, asked: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(laws)):
        found = mean_iteration(laws[i], asked[i, 0], asked[i, 1], asked[i, 2], asked[i, 3])
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = found


def steady_rows(laws: NDArray[np.float64], asked: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (iteration_s, iteration_j, decode_j, prefill_j) of n questions at once, shape (n, 4).

    Args:
        laws: (n, N), a law a question.
        asked: (n, 4), batch, input tokens, output tokens and context, as `steady` takes them.
    """
    out = np.empty((len(laws), 4))
    _mean_iterations(np.ascontiguousarray(laws), np.ascontiguousarray(asked, dtype=np.float64), out)
    return out
