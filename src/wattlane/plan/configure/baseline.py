"""What a saving is measured against: one pool for everything, the widest instances at the maximum clock, all day.

Widest: the most GPUs by tensor parallelism with the fewest pipeline stages that fit.

As many of them as given (a service sized for its peak), or the fewest that keep every class' share on the whole trace.
GPUs of that type which it does not use are parked, as in the plan; other types are parked all day. (SinglePool of
DynamoLLM, arXiv 2408.00741.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wattlane.core.errors import InputError
from wattlane.plan.configure.options import Option
from wattlane.plan.configure.performance import Row
from wattlane.plan.configure.problem import Ints, Problem
from wattlane.plan.configure.setting import Setting, problem
from wattlane.plan.configure.verify import Verified, verify


@dataclass(frozen=True, eq=False)
class Baseline:
    """The baseline, its number of instances, and what the trace makes of it; `option` in words is its deployment."""

    option: Option
    instances: int
    verified: Verified


def single_pool(setting: Setting) -> Baseline | None:
    """Return the baseline; None where no number of instances the fleet holds keeps the SLOs.

    Raises:
        InputError: more instances are asked for than the fleet holds.
    """
    number = _widest(setting)
    option = setting.options[number]
    row = Row(0, number, load=1.0, rate_per_s=1.0, power_w=1.0, attainment=1.0, ttft_p99_s=0.0, tbt_p99_s=0.0)
    base = problem(setting, "one", [row])
    room = int(base.gpu_count[option.fleet] // option.gpus)
    given = setting.asked.baseline.instances
    if given is not None and given > room:
        raise InputError(f"baseline.instances is {given}; {base.gpu_count[option.fleet]} GPUs hold {room} of them")
    if given is not None:
        counts: Ints = np.full((base.bins, 1), given, dtype=np.int64)
        return Baseline(option, given, verify(setting, "one", base, [row], counts))
    return _fewest(setting, base, [row], number, room)


def _fewest(setting: Setting, base: Problem, rows: Sequence[Row], number: int, room: int) -> Baseline | None:
    found: dict[int, Verified] = {}

    def tried(n: int) -> Verified:
        if n not in found:
            counts: Ints = np.full((base.bins, 1), n, dtype=np.int64)
            found[n] = verify(setting, "one", base, rows, counts)
        return found[n]

    low, high = 0, 1
    while high < room and not tried(high).keeps:
        low, high = high, min(2 * high, room)
    if room < 1 or not tried(high).keeps:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if tried(middle).keeps else (middle, high)
    return Baseline(setting.options[number], high, found[high])


def _widest(setting: Setting) -> int:
    """Return the widest option at the maximum clock, with the largest batch limits, of the first GPU and model."""
    fits = [n for n, i in enumerate(setting.instances) if i is not None]
    first = setting.options[fits[0]]

    def rank(n: int) -> tuple[bool, int, int, bool, int, int]:
        d = setting.options[n].deployment
        plain = d.clock_hz is None and d.power_cap_w is None and d.release_window_s == 0
        whole = d.expert_parallel in (None, d.tensor_parallel)
        return plain, -d.pipeline_parallel, d.tensor_parallel, whole, d.max_num_seqs, d.max_num_batched_tokens

    same = [
        n
        for n in fits
        if setting.options[n].fleet == first.fleet and setting.options[n].deployment.model == first.deployment.model
    ]
    return max(same, key=rank)
