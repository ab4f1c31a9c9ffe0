"""How many FLOPs a request takes on a dense or mixture-of-experts decoder, from the geometry of the model.

    prompt of n tokens     2·(active weights − head)·n + 2·head + a·Σ context
    each further token     2·active weights + a·context

with a = FLOPs of one query on one token of context (scores and values, all layers), context = the tokens a query sees,
at most its window in sliding-window layers. A mixture of experts counts the experts a token passes through, not all.
A multiply-add is two FLOPs. (Kaplan et al. 2020, arXiv 2001.08361, section 2.1: forward 2·N + attention.)

Two conventions, because profilers do not count alike: `least` is what a serving engine must do (causal attention, the
head on the last prompt token only); `profiler` counts the full square of the prompt and the head on every token, as a
FLOPs profiler of a plain forward pass does.
"""

from __future__ import annotations

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.core.facts.models import Model

CONVENTIONS = ("least", "profiler")


def context_sum(model: Model, first: float, last: float) -> float:
    """Return Σ of the context a layer reads on average over queries at positions first+1 … last (1 = first token)."""
    full = _triangle(last) - _triangle(first)
    if model.window_layers == 0 or model.window_tokens == 0:
        return full
    seen = _windowed(last, model.window_tokens) - _windowed(first, model.window_tokens)
    return ((model.layers - model.window_layers) * full + model.window_layers * seen) / model.layers


def _triangle(n: float) -> float:
    return n * (n + 1) / 2


def _windowed(n: float, window: float) -> float:
    """Return Σ min(i, window) for i = 1 … n."""
    return _triangle(min(n, window)) + max(n - window, 0.0) * window


def request_flop(model: Model, input_tokens: float, output_tokens: float, convention: str = "least") -> float:
    """Return the FLOPs of one request of `input_tokens` that makes `output_tokens`, the first of them by the prompt.

    Raises:
        InputError: fewer than one token of either.
        UnknownNameError: no such convention.
    """
    if not (input_tokens >= 1 and output_tokens >= 1):
        raise InputError(f"found {input_tokens} input and {output_tokens} output tokens; expected at least 1 of each")
    if convention not in CONVENTIONS:
        raise UnknownNameError("FLOPs convention", convention, CONVENTIONS)
    head = float(model.vocab * model.hidden)
    per_context = model.attention_flop_per_token_context
    decode = 2.0 * model.active_params * (output_tokens - 1)
    decode += per_context * context_sum(model, input_tokens, input_tokens + output_tokens - 1)
    if convention == "profiler":
        return decode + 2.0 * model.active_params * input_tokens + per_context * input_tokens**2
    body = 2.0 * (model.active_params - head) * input_tokens + 2.0 * head
    return decode + body + per_context * context_sum(model, 0.0, input_tokens)
