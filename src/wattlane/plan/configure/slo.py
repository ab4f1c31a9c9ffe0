"""What each class must keep: absolute targets, or k times what a request alone on the reference instance would take.

The latency of a class alone is that of a request with the class' 99th percentile lengths on an idle instance at
the maximum clock, from the law: TTFT is its prefill, TBT its decode step at full context, E2E the whole. The factor
5 at P99 is DynamoLLM's form (arXiv 2408.00741).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.core.workload import Workload
from wattlane.model import iteration as it

TAIL = 99.0


@dataclass(frozen=True, slots=True)
class ClassSlo:
    """Targets of one class, seconds; infinite where there is none. `attainment` is the share that must meet them all.

    Raises:
        InputError: a target or the share is out of range.
    """

    ttft_s: float = math.inf
    tbt_s: float = math.inf
    e2e_s: float = math.inf
    attainment: float = 0.99

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value}; expected seconds above 0"
            for name, value in (("ttft_s", self.ttft_s), ("tbt_s", self.tbt_s), ("e2e_s", self.e2e_s))
            if not value > 0
        ]
        if not 0 < self.attainment <= 1:
            problems.append(f"attainment is {self.attainment}; expected a share in (0, 1]")
        if self.ttft_s > self.e2e_s:
            problems.append(f"ttft_s is {self.ttft_s}, above e2e_s {self.e2e_s}; the first token comes before the last")
        if problems:
            raise InputError.gathered("slo", problems)


@dataclass(frozen=True, slots=True)
class Isolated:
    """Seconds a request takes alone: to its first token, between tokens, to its last."""

    ttft_s: float
    tbt_s: float
    e2e_s: float


def isolated(law: NDArray[np.float64], workload: Workload, stages: int = 1) -> Isolated:
    """Return what a request with the 99th percentile lengths of `workload` takes alone under `law`.

    Its prompt passes the stages of a pipeline one after the other.
    """
    prompt = float(np.percentile(workload.input_tokens, TAIL))
    answer = float(np.percentile(workload.output_tokens, TAIL))
    first, _ = it.cost(law, stages * prompt, stages * prompt * (prompt + 1) / 2, 0.0, 0.0)
    step, _ = it.cost(law, 0.0, 0.0, 1.0, prompt + answer)
    return Isolated(first, step, first + step * (answer - 1.0))


def times(k: float, alone: Isolated, attainment: float) -> ClassSlo:
    """Return the SLO of `k` times the latency alone."""
    return ClassSlo(k * alone.ttft_s, k * alone.tbt_s, k * alone.e2e_s, attainment)
