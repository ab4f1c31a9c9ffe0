"""What a binning scheme is: a name, and ascending edges for a column of lengths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scheme:
    """`input_edges` and `output_edges` take the lengths and how many bins are wanted; None says: the scheme's own.

    `is_fixed` says that the edges do not depend on the lengths and that no number of bins can be asked for.
    """

    name: str
    about: str
    input_edges: Callable[[Tokens, int | None], Tokens]
    output_edges: Callable[[Tokens, int | None], Tokens]
    is_fixed: bool = False
