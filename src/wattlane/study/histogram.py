"""Length histograms of a workload on powers of two, for the page."""

from __future__ import annotations

from typing import Any

import numpy as np

from wattlane.core.workload import Workload


def histogram(workload: Workload) -> dict[str, Any]:
    """Return edges (tokens, powers of two) and counts of the input and output lengths."""
    out: dict[str, Any] = {}
    for name, values in (("input", workload.input_tokens), ("output", workload.output_tokens)):
        top = int(np.ceil(np.log2(max(int(values.max()), 2)))) + 1
        edges = 2 ** np.arange(top + 1)
        counts, _ = np.histogram(values, bins=edges)
        out |= {f"{name}_edges": edges.tolist(), f"{name}_counts": counts.tolist()}
    return out
