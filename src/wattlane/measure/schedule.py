"""When a meter is polled: 20 times a second, and 125 times a second for a while after each edge of a window.

An edge is known only once it comes, so polls are dense after it; the tick before it is placed by the ones after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PERIOD_S = 0.05
DENSE_PERIOD_S = 0.008
DENSE_S = 0.2  # two ticks of the slowest counter known (100 ms); 0.25 gave the same coverage and widths


def poll_times(
    start_s: float, end_s: float, edges_s: tuple[float, ...], seed: int | None = None
) -> NDArray[np.float64]:
    """Return when a meter would be polled between two times with window edges at `edges_s`, ascending.

    With `seed` the polls start at a random phase and come up to 1 ms late, as those of a thread do.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    phase_s = 0.0 if seed is None else float(rng.uniform(0, PERIOD_S))
    times = np.arange(start_s - phase_s, end_s, PERIOD_S)
    dense = [np.arange(edge_s, min(edge_s + DENSE_S, end_s), DENSE_PERIOD_S) for edge_s in edges_s]
    polls = np.concatenate((times, *dense))
    return np.sort(polls if seed is None else polls + rng.uniform(0, 1e-3, len(polls)))
