"""What a policy expects of a replica, by its law: pure arithmetic in numba's subset, of numbers a gateway has too.

All laws are those of a replica at its highest clock (`wattlane.model.iteration`), seconds and joules of one iteration.
"""

from __future__ import annotations

import numpy as np

from wattlane.model.iteration import cost
from wattlane.model.jit import kernel


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
def replica_seconds(law: np.ndarray, prompt_tokens: float, output_tokens: float, gap_s: float, most: int) -> float:
    """Return how long a request occupies a replica that is as full as `gap_s` allows.

        prefill alone + output tokens · t(D) / D,   D = `largest_batch` at the mean context of the answer

    DynamoLLM (arXiv 2408.00741) takes the load that an instance sustains within its SLO from profiles; here it is the
    law that says so.
    """
    context = prompt_tokens + 0.5 * output_tokens
    batch = float(largest_batch(law, context, gap_s, most))
    prefill_s, _ = cost(law, prompt_tokens, 0.5 * prompt_tokens * (prompt_tokens + 1.0), 0.0, 0.0)
    decode_s, _ = cost(law, 0.0, 0.0, batch, batch * context)
    return prefill_s + max(output_tokens - 1.0, 0.0) * decode_s / batch
