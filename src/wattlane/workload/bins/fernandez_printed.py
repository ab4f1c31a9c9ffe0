"""The bins printed by Fernandez et al.: inputs 32, 128, 256, … 8192 (16 and 64 are not in the list), outputs 8 … 512.

Longer requests are excluded. Source: Fernandez et al. 2025, arXiv 2504.17674, section 4.1.
"""

from __future__ import annotations

import numpy as np

from wattlane.workload.bins.scheme import Scheme

INPUT_EDGES = (32, 128, 256, 512, 1024, 2048, 4096, 8192)
OUTPUT_EDGES = (8, 16, 32, 64, 128, 256, 512)

SCHEME = Scheme(
    "fernandez-printed",
    "inputs 32, 128, 256, ... 8192; outputs 8, 16, ... 512; longer requests are excluded",
    lambda _lengths, _count: np.array(INPUT_EDGES, dtype=np.int64),
    lambda _lengths, _count: np.array(OUTPUT_EDGES, dtype=np.int64),
    is_fixed=True,
)
