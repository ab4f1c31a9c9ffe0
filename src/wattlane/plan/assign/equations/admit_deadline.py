"""A request goes only to targets that finish it within its deadline, by the law of their runtime."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.equations.equation import Admission
from wattlane.plan.assign.values import Case


def refused(case: Case, ask: Ask) -> NDArray[np.bool_] | None:
    """Return (K, m), true where the runtime is above the deadline of the request or of all requests."""
    own, common = case.kinds.deadline_s, ask.deadline_s
    if own is None and common is None:
        return None
    most = np.full(len(case.kinds), np.inf) if own is None else own
    late: NDArray[np.bool_] = case.predicted("runtime_s") > np.minimum(most, np.inf if common is None else common)
    return late


EQUATION = Admission("admit_deadline", "x_ki = 0 where r_ki > d_i", refused)
