"""Token lengths: pure seeded functions `(rng, n, **values) -> Drawn`."""

from __future__ import annotations

import numpy as np

from wattlane.workload.lengths import fixed, histogram, lognormal, shape, trace
from wattlane.workload.lengths.drawn import Drawn
from wattlane.workload.spec import Kind, Spec, resolve

LENGTHS: dict[str, Kind] = {module.KIND.name: module.KIND for module in (fixed, lognormal, histogram, shape, trace)}


def draw(spec: Spec, n: int, seed: np.random.SeedSequence) -> Drawn:
    """Return n token pairs.

    Raises:
        InputError: the spec is wrong, or a file it names cannot be read.
    """
    kind, values = resolve("lengths", spec, LENGTHS)
    drawn: Drawn = kind.make(np.random.default_rng(seed), n, **values)
    return drawn
