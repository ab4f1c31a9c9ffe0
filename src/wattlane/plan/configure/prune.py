"""Drop modes that no plan needs: another one of the same pool and shape does as much with no more GPUs and watts.

Exchanging a dominated instance for its dominator keeps every constraint and does not raise the objective, whatever the
prices: coverage does not fall, GPUs, watts and instances of each shape do not grow. So the optimum is kept exactly.
"""

from __future__ import annotations

import numpy as np

from wattlane.plan.configure.problem import Ints, Modes


def undominated(modes: Modes) -> Ints:
    """Return the rows of modes that are not dominated within their (pool, shape), ascending; of equals the first."""
    # by power, then the faster first: a mode survives if it serves more than every cheaper one of its group
    order = np.lexsort((np.arange(len(modes)), -modes.rate_per_s, modes.power_w, modes.shape, modes.pool))
    kept = []
    group, fastest = (-1, -1), -np.inf
    for row in order.tolist():
        here = (int(modes.pool[row]), int(modes.shape[row]))
        if here != group:
            group, fastest = here, -np.inf
        if modes.rate_per_s[row] > fastest:
            kept.append(row)
            fastest = float(modes.rate_per_s[row])
    return np.array(sorted(kept), dtype=np.int64)
