"""What a length distribution gives, and how whole tokens are drawn inside a range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError

SPACINGS = ("log", "uniform")


@dataclass(frozen=True, eq=False, slots=True)
class Drawn:
    """Token columns of equal length; `clipped` is how many values a stated limit cut."""

    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    cached_tokens: NDArray[np.int64] | None = None
    clipped: int = 0


def within(
    rng: np.random.Generator, low_tokens: NDArray[np.int64], high_tokens: NDArray[np.int64], spacing: str = "log"
) -> NDArray[np.int64]:
    """Return whole tokens in `low … high`, both included, one for each pair.

    `log` draws exp(U(log low, log(high + 1))) rounded down, so a token count has weight about 1 / tokens; `uniform`
    gives each count the same weight. Lengths spread over decades, so `log` is the default.
    """
    if spacing not in SPACINGS:
        raise InputError(f"spacing is {spacing!r}; expected one of: {', '.join(SPACINGS)}")
    share = rng.random(len(low_tokens))
    drawn = (
        low_tokens * ((high_tokens + 1) / low_tokens) ** share
        if spacing == "log"
        else low_tokens + share * (high_tokens + 1 - low_tokens)
    )
    return np.clip(np.floor(drawn), low_tokens, high_tokens).astype(np.int64)
