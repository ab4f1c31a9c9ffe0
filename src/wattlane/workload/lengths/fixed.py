"""Fixed lengths: every request the same."""

from __future__ import annotations

import numpy as np

from wattlane.core.errors import InputError
from wattlane.workload.lengths.drawn import Drawn
from wattlane.workload.spec import Kind, Param


def fixed(_rng: np.random.Generator, n: int, *, input_tokens: int, output_tokens: int) -> Drawn:
    """Return n equal pairs, tokens.

    Raises:
        InputError: a length is below 1.
    """
    if min(input_tokens, output_tokens) < 1:
        raise InputError(f"lengths kind=fixed: {input_tokens} in, {output_tokens} out; expected at least 1 token each")
    return Drawn(np.full(n, input_tokens, np.int64), np.full(n, output_tokens, np.int64))


KIND = Kind(
    "fixed",
    fixed,
    "every request the same",
    (
        Param("input_tokens", "a whole number of at least 1", read=int),
        Param("output_tokens", "a whole number of at least 1", read=int),
    ),
)
