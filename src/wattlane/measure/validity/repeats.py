"""Spread over prompts is not spread over repeats: only the second makes the error bar of a mean.

mean    over all, CI from the means of the repeats: m ± t(0.975; R − 1) · s_R / √R
sd_over_prompts = sd of the prompts' means (how unlike the work is), sd_over_repeats = s_R (how unlike the runs are)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wattlane.core.errors import InputError
from wattlane.measure.spread import spread

FEWEST = 5


@dataclass(frozen=True, slots=True)
class Repeated:
    """Mean with its 95 % interval, and the two standard deviations apart. All in the unit of the values."""

    mean: float
    lo: float
    hi: float
    sd_over_repeats: float
    sd_over_prompts: float
    repeats: int
    prompts: int

    def __str__(self) -> str:
        return (
            f"{self.mean:.4g} [{self.lo:.4g}, {self.hi:.4g}], sd {self.sd_over_repeats:.3g} over "
            f"{self.repeats} repeats, {self.sd_over_prompts:.3g} over {self.prompts} prompts"
        )


def repeated(values: Sequence[Sequence[float]]) -> Repeated:
    """Return the statistics of `values`, one row a repeat and one column a prompt.

    Raises:
        InputError: fewer than 5 repeats, rows of unlike length, or a value that is not finite.
    """
    if len(values) < FEWEST or len({len(row) for row in values}) != 1 or not values[0]:
        raise InputError(f"found {len(values)} repeats; expected at least {FEWEST}, each with the same prompts")
    table = np.asarray(values, dtype=float)
    if not np.isfinite(table).all():
        raise InputError("found a value that is not finite; an absent energy is left out with its prompt, never 0")
    over_repeats = spread([float(mean) for mean in table.mean(axis=1)])
    assert over_repeats is not None
    assert over_repeats.lo is not None
    assert over_repeats.hi is not None
    assert over_repeats.sd is not None
    by_prompt = table.mean(axis=0)
    return Repeated(
        over_repeats.mean,
        over_repeats.lo,
        over_repeats.hi,
        over_repeats.sd,
        float(by_prompt.std(ddof=1)) if len(by_prompt) > 1 else 0.0,
        *table.shape,
    )
