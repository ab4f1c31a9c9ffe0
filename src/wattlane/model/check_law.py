"""What every law of whole requests must do, whatever its form: one battery for all laws.

round trip     written to a file and read again, it gives the same costs to 1e-3
non-negative   no request takes negative time or energy
monotone       more input or more output tokens never cost less
scale          tokens doubled on both sides cost 1 to 4 times as much: nothing here grows faster than the square
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Protocol

ROUND_TRIP = 1e-3
ROUNDING = 1e-9


class RequestLaw(Protocol):
    """A law that gives time and energy of one request."""

    def request_cost(self, input_tokens: float, output_tokens: float) -> tuple[float, float]:
        """Return (runtime in s, energy in J) of one request."""
        ...


def check_law(
    law: RequestLaw, read_again: RequestLaw, input_tokens: Sequence[float], output_tokens: Sequence[float]
) -> list[str]:
    """Return in words which laws of nature `law` breaks on the grid of tokens; empty means none.

    Args:
        law: what is checked.
        read_again: the same law after a round trip through its file.
        input_tokens: ascending counts, at least one.
        output_tokens: ascending counts, at least one.
    """
    grid = list(itertools.product(input_tokens, output_tokens))
    costs = {point: law.request_cost(*point) for point in grid}
    problems = []
    for i, name in enumerate(("runtime_s", "energy_j")):
        for point, cost in costs.items():
            again, doubled = read_again.request_cost(*point)[i], law.request_cost(2 * point[0], 2 * point[1])[i]
            if not math.isclose(cost[i], again, rel_tol=ROUND_TRIP):
                problems.append(f"round trip: {name} at {point} is {cost[i]:.6g}, read again {again:.6g}")
            if not (math.isfinite(cost[i]) and cost[i] >= 0):
                problems.append(f"non-negative: {name} at {point} is {cost[i]:.4g}")
            elif not cost[i] * (1 - ROUNDING) <= doubled <= 4 * cost[i] * (1 + ROUNDING):
                problems.append(f"scale: {name} at {point} is {cost[i]:.4g}, at doubled tokens {doubled:.4g}")
        for a, b in itertools.permutations(grid, 2):
            if a[0] <= b[0] and a[1] <= b[1] and costs[b][i] < costs[a][i] * (1 - ROUNDING):
                problems.append(f"monotone: {name} falls from {costs[a][i]:.4g} at {a} to {costs[b][i]:.4g} at {b}")
    return problems
