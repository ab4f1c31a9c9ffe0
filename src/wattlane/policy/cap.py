"""How a fleet stays within a power budget: caps that are set once, and ceilings of clocks that follow the power drawn.

`static_share_w` is the power agent of NVIDIA Dynamo: every GPU gets the same static cap, whatever it does. It cannot
fail and wastes what the idle ones leave.

`polca_stage` is POLCA (arXiv 2308.12908): two thresholds of the cluster's budget; above the first low-priority replicas
are held to a lower clock, above the second all are, above the budget itself the power brake takes everybody to the
lowest clock. A stage is left a step a period, once power is below its threshold by a margin. Published: 30 % more
servers in the same cluster at minimal loss. The default thresholds and clocks are those we recall of the paper, 80 and
89 % of the budget and 1,275, 1,110 and 1,305 of 1,410 MHz on A100; they are unverified.

`tapas_ceiling` is what TAPAS (arXiv 2501.02600) does to instances that serve: it keeps a row's power and each replica's
temperature within limits by lower clocks and by routing elsewhere (`is_hot`). The hottest are lowered first. Published:
maximum temperature −17 %, peak row power −23 %, with placement and model variants, which are left out. The temperature
is a prior: first order, `warm_s` to follow, `c_per_w` above the inlet's.

    T ← T∞ + (T − T∞)·exp(−seconds / warm_s),     T∞ = inlet + c_per_w·watts
"""

from __future__ import annotations

import numpy as np

NONE, LOW, ALL, BRAKE = 0, 1, 2, 3  # stages of POLCA


def static_share_w(budget_w: float, gpus: int, all_gpus: int) -> float:
    """Return the cap of a replica of `gpus` out of `all_gpus`."""
    return budget_w * gpus / all_gpus


def polca_stage(stage: int, share: float, first: float, second: float, release: float) -> int:
    """Return the next stage where the fleet drew `share` of its budget in the last period."""
    wanted = NONE
    if share > 1.0:
        wanted = BRAKE
    elif share > second:
        wanted = ALL
    elif share > first:
        wanted = LOW
    if wanted >= stage:
        return wanted
    threshold = first if stage == LOW else (second if stage == ALL else 1.0)
    return stage - 1 if share < threshold - release else stage


def heated_c(before_c: float, watts: float, seconds: float, inlet_c: float, c_per_w: float, warm_s: float) -> float:
    """Return the temperature after `seconds` at `watts`."""
    settled_c = inlet_c + c_per_w * watts
    return settled_c + (before_c - settled_c) * np.exp(-seconds / warm_s)


def is_hot(temperature_c: float, limit_c: float, band_c: float) -> bool:
    """Whether a replica is so near its limit that requests go elsewhere."""
    return temperature_c > limit_c - band_c


def tapas_ceiling(
    ceiling: int,
    top: int,
    temperature_c: float,
    mean_c: float,
    share: float,
    first: float,
    release: float,
    limit_c: float,
    band_c: float,
) -> int:
    """Return the highest clock a replica may use next: two steps down above a limit, one near it, one up far below.

    `share` is what the row drew of its budget; near the budget, above `first`, those as hot as the mean go down.
    """
    if temperature_c > limit_c or share > 1.0:
        return max(0, ceiling - 2)
    if temperature_c > limit_c - band_c or (share > first and temperature_c >= mean_c):
        return max(0, ceiling - 1)
    if share < first - release and temperature_c < limit_c - 2.0 * band_c:
        return min(top, ceiling + 1)
    return ceiling
