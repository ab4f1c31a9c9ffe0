"""A request goes only to targets whose score reaches what it asks for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.equations.equation import Admission
from wattlane.plan.assign.values import Case


def refused(case: Case, ask: Ask) -> NDArray[np.bool_] | None:
    """Return (K, m), true where the score is below the floor of the request or of all requests."""
    own, common = case.kinds.min_accuracy, ask.min_accuracy
    if own is None and common is None:
        return None
    case.accuracy()  # refuses unknown scores
    least = np.full(len(case.kinds), common or 0.0) if own is None else np.maximum(own, common or 0.0)
    below: NDArray[np.bool_] = case.scores()[:, None] < least[None, :]
    return below


EQUATION = Admission("admit_accuracy", "x_ki = 0 where A_k < q_i", refused)
