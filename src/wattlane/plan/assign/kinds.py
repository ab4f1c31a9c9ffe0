"""Requests merged into kinds: equal lengths and equal limits are one kind with a count. Merging is exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.core.workload import Workload
from wattlane.model.request_law import BILINEAR, TERMS
from wattlane.plan.assign.problem import Counts, Floats

LARGEST_KEY = 2**62


@dataclass(frozen=True, eq=False, slots=True)
class Kinds:
    """m kinds of request, (m,) each.

    `min_accuracy` is the least score a model may have for the request, `deadline_s` the longest it may run; None: no
    such limit. `of_request` (n,) is the kind of every request in order of arrival, None where the order was not kept.
    """

    input_tokens: Counts
    output_tokens: Counts
    requests: Counts
    min_accuracy: Floats | None = None
    deadline_s: Floats | None = None
    of_request: NDArray[np.intp] | None = None

    def __len__(self) -> int:
        return len(self.requests)

    @property
    def total(self) -> int:
        """How many requests there are."""
        return int(self.requests.sum())

    @property
    def tokens(self) -> Counts:
        """Input and output tokens of a request of each kind."""
        return self.input_tokens + self.output_tokens

    def sums(self, weight: Counts, terms: Sequence[str] = BILINEAR) -> Floats:
        """Return Σ weight·(1, terms...): all that the total of a law depends on; (1, in, out, in·out) by default."""
        tin, tout, w = (v.astype(float) for v in (self.input_tokens, self.output_tokens, weight))
        return np.array([w.sum(), *((w * TERMS[term](tin, tout)).sum() for term in terms)])


def merge(
    workload: Workload, *, min_accuracy: Floats | None = None, deadline_s: Floats | None = None, merged: bool = True
) -> Kinds:
    """Return the kinds of a workload; limits are one value a request, (n,). With `merged` false each is its own kind.

    Raises:
        InputError: a limit of another length, not finite, or out of range.
    """
    limits = {"min_accuracy": min_accuracy, "deadline_s": deadline_s}
    given = {name: np.asarray(v, dtype=float) for name, v in limits.items() if v is not None}
    problems = []
    for name, values in given.items():
        if len(values) != len(workload):
            problems.append(f"{name} has {len(values)} values; expected {len(workload)}, one for each request")
        elif bad := list(np.flatnonzero(~(values >= 0) | ((values == 0) & (name == "deadline_s")))):
            problems.append(f"{name} is {values[bad[0]]:g} at request {bad[0]}; expected at least 0, a deadline above")
    if problems:
        raise InputError.gathered(workload.name, problems)
    n = len(workload)
    tin, tout = workload.input_tokens, workload.output_tokens
    if not merged:
        return Kinds(tin, tout, np.ones(n, np.int64), **given, of_request=np.arange(n))
    base = int(tout.max()) + 1
    if not given and int(tin.max()) < LARGEST_KEY // base:
        # without the index of the first, the sort need not be stable: half the time
        keys, of_request, requests = np.unique(tin * base + tout, return_inverse=True, return_counts=True)
        return Kinds(*np.divmod(keys, base), requests.astype(np.int64), of_request=of_request)
    key: Counts = tin
    for values in (tout, *given.values()):
        distinct, code = np.unique(values, return_inverse=True)
        # dense again before the next factor: the product of the ranges may exceed 64 bits
        key = np.unique(key, return_inverse=True)[1] * len(distinct) + code
    _, first, of_request, requests = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
    taken = {name: values[first] for name, values in given.items()}
    return Kinds(tin[first], tout[first], requests.astype(np.int64), **taken, of_request=of_request)
