"""Prompts of a requested length, different for each request so that no prefix cache helps.

Engines that take token ids get exactly the requested number. Others get short random words of about one token each;
what they counted is in `usage`, and that is what results use.
"""

from __future__ import annotations

import numpy as np

from wattlane.measure.engines.base import Habits

LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))
WORD_LETTERS = 2


def make_prompt(habits: Habits, input_tokens: int, seed: int, request_id: int) -> str | list[int]:
    """Return a prompt of `input_tokens` random token ids, or that many random words; same seed and id, same prompt."""
    generator = np.random.default_rng((seed, request_id))
    if habits.token_ids is not None:
        low, high = habits.token_ids
        ids: list[int] = generator.integers(low, high, input_tokens).tolist()
        return ids
    letters = generator.choice(LETTERS, (input_tokens, WORD_LETTERS))
    return " ".join("".join(word) for word in letters)
