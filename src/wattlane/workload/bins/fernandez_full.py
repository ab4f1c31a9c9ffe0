"""The bins of Fernandez et al. as their formula states them: inputs 2^4 … 2^13, outputs 2^3 … 2^9.

Longer requests are excluded. Source: Fernandez et al. 2025, arXiv 2504.17674, section 4.1.
"""

from __future__ import annotations

import numpy as np

from wattlane.workload.bins.scheme import Scheme

SCHEME = Scheme(
    "fernandez-full",
    "inputs 16, 32, 64, ... 8192; outputs 8, 16, ... 512; longer requests are excluded",
    lambda _lengths, _count: 2 ** np.arange(4, 14, dtype=np.int64),
    lambda _lengths, _count: 2 ** np.arange(3, 10, dtype=np.int64),
    is_fixed=True,
)
