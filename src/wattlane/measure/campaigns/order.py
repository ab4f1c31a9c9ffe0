"""In which order the cells of a round are measured. Every round visits each open cell once.

`shuffled`: a new permutation each round. `interleaved`: as written, every second round backwards (A B B A), so that a
drift that is linear in time falls on all cells alike; the seed says which way the first round goes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def round_order(cells: Sequence[T], how: str, seed: int, number: int) -> list[T]:
    """Return the cells of round `number` in their order; the same arguments give the same order."""
    order = list(cells)
    if how == "shuffled":
        random.Random(f"{seed}/{number}").shuffle(order)
    elif (number + random.Random(seed).randrange(2)) % 2:
        order.reverse()
    return order
