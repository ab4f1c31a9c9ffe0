"""Nine classes of request: short, medium and long prompts by short, medium and long answers.

Bounds are the 33rd and 66th percentiles of a trace (DynamoLLM, arXiv 2408.00741), or given. A length equal to a bound
belongs to the shorter class. Every request has exactly one class, number 3·prompt + answer, named SS, SM, ... LL.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.core.workload import Workload

SIZES = "SML"
NAMES = tuple(i + o for i in SIZES for o in SIZES)
PERCENTILES = (33.0, 66.0)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Longest short and longest medium length, of prompts and of answers; `source` says where they come from.

    Raises:
        InputError: not rising, or below 1.
    """

    input_tokens: tuple[int, int]
    output_tokens: tuple[int, int]
    source: str = "given"

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {list(pair)}; expected two whole numbers, 1 <= first < second"
            for name, pair in (("input_tokens", self.input_tokens), ("output_tokens", self.output_tokens))
            if not 1 <= pair[0] < pair[1]
        ]
        if problems:
            raise InputError.gathered("class bounds", problems)


# DynamoLLM's numbers as second-hand notes give them; nobody checked them against the paper.
DYNAMOLLM_UNVERIFIED = Bounds((256, 1024), (100, 350), "preset dynamollm, unverified")


def percentile_bounds(workload: Workload) -> Bounds:
    """Return bounds at the 33rd and 66th percentiles of both lengths.

    Raises:
        InputError: the lengths are too few or too equal for three classes.
    """

    def pair(lengths: NDArray[np.int64]) -> tuple[int, int]:
        low, high = np.percentile(lengths, PERCENTILES, method="lower").astype(int).tolist()
        return low, high

    found = pair(workload.input_tokens), pair(workload.output_tokens)
    for name, (low, high), longest in zip(
        ("input", "output"), found, (workload.input_tokens.max(), workload.output_tokens.max()), strict=True
    ):
        if not low < high < longest:
            raise InputError(
                f"{workload.name}: {name} lengths have percentiles 33 and 66 of {low} and {high} and a longest of "
                f"{longest}; expected three different values for three classes; give bounds of your own"
            )
    return Bounds(*found, source="percentiles 33 and 66 of the trace")


def classify(workload: Workload, bounds: Bounds) -> NDArray[np.int64]:
    """Return the class of every request, (n,), 0 to 8."""
    i = np.searchsorted(bounds.input_tokens, workload.input_tokens, side="left")
    o = np.searchsorted(bounds.output_tokens, workload.output_tokens, side="left")
    return (3 * i + o).astype(np.int64)


# How classes are put together into pools that share instances: pool of each of the nine classes.
POOLINGS: dict[str, tuple[int, ...]] = {
    "one": (0,) * 9,
    "by-output": (0, 1, 2) * 3,
    "by-input": (0, 0, 0, 1, 1, 1, 2, 2, 2),
    "nine": tuple(range(9)),
}


def pool_names(pooling: str) -> tuple[str, ...]:
    """Return a name for each pool of a pooling: the classes in it."""
    pools = POOLINGS[pooling]
    return tuple("+".join(n for n, p in zip(NAMES, pools, strict=True) if p == k) for k in range(max(pools) + 1))
