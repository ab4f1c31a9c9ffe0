"""What a policy expects of a replica, by its law: pure arithmetic in numba's subset, of numbers a gateway has too.

All laws are those of a replica at its highest clock (`wattlane.model.iteration`): seconds and joules of one iteration.
What is expected of a request is that it is processed as now: nobody else comes, nobody ends, no prefix is found.
"""

from __future__ import annotations

import numpy as np

from wattlane.model.iteration import IDLE_W, cost
from wattlane.model.jit import kernel


@kernel
def context_of(tokens: float, prompts: float) -> float:
    """Return the token·context products of `tokens` prompt tokens in `prompts` prompts of equal length."""
    return 0.5 * tokens * (tokens / prompts + 1.0)


@kernel
def latencies(
    law: np.ndarray, budget: int, decoding: float, kv_tokens: float, prompts: float, tokens: float
) -> tuple[float, float]:
    """Return (longest token gap, seconds until the last of `prompts` prompts has its first token).

    `tokens` prompt tokens, those that wait and those of the request that comes, are processed beside the `decoding`
    sequences under the token `budget` of an iteration:

        n = ⌈tokens / (budget − decoding)⌉ iterations of t(tokens/n, context/n, decoding, kv)   until the first token
        gap = max(t if anybody decodes meanwhile, t(0, 0, decoding + prompts, kv + tokens))     afterwards
    """
    after_s, _ = cost(law, 0.0, 0.0, decoding + prompts, kv_tokens + tokens)
    if tokens <= 0.0:
        return after_s, after_s
    count = np.ceil(tokens / max(budget - decoding, 1.0))
    chunk_s, _ = cost(law, tokens / count, context_of(tokens, prompts) / count, decoding, kv_tokens)
    gap_s = max(chunk_s, after_s) if decoding > 0.0 or count > 1.0 else after_s
    return gap_s, count * chunk_s


@kernel
def marginal_j(law: np.ndarray, budget: int, decoding: float, kv_tokens: float, prompt: float, output: float) -> float:
    """Return the joules that a request of `prompt` and `output` tokens adds to a replica whose batch stays as it is.

        n·(E(prompt/n, context/n, d, k) − E(0, 0, d, k)) + (output − 1)·(E(0, 0, d + 1, k + c) − E(0, 0, d, k))

    with c its mean context while it decodes. Beside nobody the alternative to an iteration is to idle for as long.
    """
    alone = decoding <= 0.0
    _, base_j = cost(law, 0.0, 0.0, decoding, kv_tokens)
    total = 0.0
    if prompt > 0.0:
        count = np.ceil(prompt / max(budget - decoding, 1.0))
        t, joules = cost(law, prompt / count, context_of(prompt, 1.0) / count, decoding, kv_tokens)
        total += count * (joules - (law[IDLE_W] * t if alone else base_j))
    t, joules = cost(law, 0.0, 0.0, decoding + 1.0, kv_tokens + prompt + 0.5 * output)
    return total + max(output - 1.0, 0.0) * (joules - (law[IDLE_W] * t if alone else base_j))


@kernel
def largest_batch(law: np.ndarray, context_tokens: float, gap_s: float, most: int) -> int:
    """Return the most sequences of `context_tokens` each, at least 1, whose next token comes within `gap_s`."""
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        seconds, _ = cost(law, 0.0, 0.0, float(middle), middle * context_tokens)
        if seconds <= gap_s:
            low = middle
        else:
            high = middle - 1
    return low


@kernel
def replica_seconds(law: np.ndarray, prompt: float, output: float, gap_s: float, most: int) -> float:
    """Return how long a request occupies a replica that is as full as `gap_s` allows.

        prefill alone + (output − 1) · t(D) / D,   D = `largest_batch` at the mean context of the answer

    DynamoLLM (arXiv 2408.00741) takes the load that an instance sustains within its SLO from profiles; here it is the
    law that says so.
    """
    context = prompt + 0.5 * output
    batch = float(largest_batch(law, context, gap_s, most))
    prefill_s, _ = cost(law, prompt, context_of(prompt, 1.0), 0.0, 0.0)
    decode_s, _ = cost(law, 0.0, 0.0, batch, batch * context)
    return prefill_s + max(output - 1.0, 0.0) * decode_s / batch


@kernel
def service(law: np.ndarray, budget: int, prompt: float, output: float) -> tuple[float, float]:
    """Return (seconds to the first token, seconds to the last) of a request alone on a replica."""
    count = np.ceil(prompt / budget)
    chunk_s, _ = cost(law, prompt / count, context_of(prompt, 1.0) / count, 0.0, 0.0)
    token_s, _ = cost(law, 0.0, 0.0, 1.0, prompt + 0.5 * output)
    return count * chunk_s, count * chunk_s + max(output - 1.0, 0.0) * token_s


@kernel
def gain_j(law: np.ndarray, prompt: float, output: float) -> float:
    """Return the joules that two like requests save together against one after the other, idling for the time saved.

    2·E(p) − E(2p) + (output − 1)·(2·E(1) − E(2)) − idle watts · seconds saved
    """
    context = prompt + 0.5 * output
    steps = max(output - 1.0, 0.0)
    t, joules = cost(law, prompt, context_of(prompt, 1.0), 0.0, 0.0)
    t_both, both_j = cost(law, 2.0 * prompt, 2.0 * context_of(prompt, 1.0), 0.0, 0.0)
    t_one, one_j = cost(law, 0.0, 0.0, 1.0, context)
    t_two, two_j = cost(law, 0.0, 0.0, 2.0, 2.0 * context)
    saved_s = 2.0 * t - t_both + steps * (2.0 * t_one - t_two)
    return 2.0 * joules - both_j + steps * (2.0 * one_j - two_j) - law[IDLE_W] * saved_s
